"""Checks what writing new scenes needs before it starts, and estimates what it will cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from engines.chat import ChatRequest
from engines.models import ModelConfig
from engines.remote.client import price_at
from engines.remote.estimate import Dialogues, Estimate, PlannedCalls, estimate
from engines.remote.usage_totals import Account
from envs.errors import ConfigError
from envs.scenarios.open_ended import open_scenes
from training.config import RunConfig
from training.config.endpoint import endpoint_of
from training.play.scene_writer import MAX_ASKS, scenes_in, tension_request, writing_request
from training.preflight.checks import check_output, check_resume
from training.preflight.cost import show_cost_estimate
from training.preflight.endpoints import check_calls
from training.preflight.workload import tokens_of

USUAL_ATTEMPTS: Final = 1.5
"""Assumed attempts for a scene that is accepted."""

SCENE_TOKENS, ANSWER_TOKENS = 250, 50
"""Assumed tokens of a scene and of an answer about tension."""

REFUSAL_TOKENS: Final = 60
"""Assumed tokens that say why a reply was refused."""


def check_before_invention(config: RunConfig) -> None:
    """Check that a model and a file are named, that calls work and that the file can be written.

    Raises:
        ConfigError: one of them is missing or does not work.
        DataError: the file exists and holds something else than scenes.
    """
    model_of(config)
    file = Path(config.invent.out)
    if file.suffix != ".jsonl":
        raise ConfigError(
            f"invent.out is {config.invent.out!r}, but must be a file whose name ends in .jsonl; "
            "set invent.out=FILE.jsonl, to which scenes are added."
        )
    check_output(str(file.parent))
    scenes_in(file)
    check_calls(with_answers(config))
    if config.resume is not None:
        check_resume(config.resume)
    check_output(config.output_root)


def model_of(config: RunConfig) -> ModelConfig:
    """The model that writes.

    Raises:
        ConfigError: none is named.
    """
    if config.invent.model is None:
        raise ConfigError(
            "No model is named that writes the scenes; set invent.model.name=NAME, and "
            "invent.model.base_url=URL for a server of your own."
        )
    return config.invent.model


def with_answers(config: RunConfig) -> RunConfig:
    """Keep the answers beside the file of scenes, so that the same command goes on with them."""
    answers = config.api.answers_file or f"{config.invent.out}.answers.sqlite"
    return replace(config, api=replace(config.api, answers_file=answers))


def print_invention_estimate(config: RunConfig) -> None:
    """Print the calls and costs of the scenes that are still wanted, without a call."""
    show_cost_estimate(Console(), invention_estimate(config))


def invention_estimate(config: RunConfig) -> Estimate:
    """Estimate calls, tokens and dollars of the scenes that are still wanted."""
    model, options = model_of(config), config.invent
    wanted = max(0, options.count - len(scenes_in(Path(options.out))))
    scene = open_scenes("train")[0]
    return estimate(
        (
            _planned(config, model, wanted, writing_request(model, config.seed, 0), SCENE_TOKENS),
            _planned(config, model, wanted, tension_request(model, scene), ANSWER_TOKENS),
        )
    )


def _planned(
    config: RunConfig, model: ModelConfig, wanted: int, request: ChatRequest, reply_tokens: int
) -> PlannedCalls:
    endpoint = endpoint_of(model)
    characters = sum(len(message.content) for message in request.messages)
    usual = Dialogues(
        dialogues=round(USUAL_ATTEMPTS * wanted),
        calls=1,
        first_prompt_tokens=tokens_of(characters),
        growth_tokens=REFUSAL_TOKENS,
        reply_tokens=min(reply_tokens, model.max_tokens),
    )
    attempts = config.invent.count * config.invent.tries if wanted else 0
    worst = replace(usual, dialogues=attempts, calls=MAX_ASKS, reply_tokens=model.max_tokens)
    return PlannedCalls(Account("scenes", endpoint.id), price_at(endpoint), usual, worst)
