"""Builds the players and the judge of a run from its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.base import Player
from agents.chat_template import ChatTemplate
from agents.policy import ModelPlayer
from agents.prompts import style_of
from agents.registry import PLAYERS
from agents.remote import RemotePlayer
from agents.scripted import ScriptedExperts
from engines.batcher import Batcher
from engines.event_loop import EventLoop
from engines.models import ModelConfig, Resources, built
from engines.types import Engine, LoadedEngine, Sampling
from envs.errors import ConfigError
from training.builders.judges import judge_of
from training.config import RunConfig, models
from training.config.play import API, CheckpointConfig, PolicyConfig
from training.learning.sources.base import DEMONSTRATE, Talk
from training.play.context import (
    CHECKPOINT,
    EXPERTS,
    FROZEN,
    MODEL,
    POLICY,
    SELF,
    STUBBORN,
    PlayContext,
)
from training.play.engines import Engines
from training.play.remote import Remote, resources
from training.play.waves import play_in_waves
from training.storage.checkpoint import Checkpoint
from training.storage.pretrained import load_pretrained
from training.storage.run import Run

Purpose = Literal["partner", "policy", "demonstrations"]


def open_play(config: RunConfig, run: Run) -> PlayContext:
    """Build the context of play with the judge and all players that need no weights of the run.

    Raises:
        ConfigError: a model cannot be asked, or cannot end a turn.
    """
    context = _without_players(config, run, run)
    given = resources(context.remote, seed=config.seed)
    return replace(
        context,
        players=_partners(config, given, context.engines),
        partners=(SELF, FROZEN, *(() if config.env.has_scenes else (EXPERTS,))),
    )


def _without_players(config: RunConfig, run: Run, owner: Run | _Part) -> PlayContext:
    """The context of play before anybody sits down.

    Args:
        owner: closes what is opened here.
    """
    batcher, loop = Batcher(), EventLoop()
    engines = Engines(config.engine, batcher)
    owner.on_close(engines.close)
    owner.on_close(loop.close)
    remote = Remote(config, owner, loop) if models(config) else None
    return PlayContext(
        config=config,
        run=run,
        batcher=batcher,
        loop=loop,
        engines=engines,
        rules=config.env.rules,
        players={},
        partners=(),
        judge=judge_of(config.judge, resources(remote, seed=config.seed)),
        remote=remote,
    )


def _partners(config: RunConfig, given: Resources, engines: Engines) -> dict[str, Player]:
    """The players that need no weights of the run, by role; experts are always among them."""
    partner = config.partner
    specs = {EXPERTS: PLAYERS[EXPERTS]} | partner.players
    players: dict[str, Player] = {
        name: built(spec, partner.options_for(spec), given) for name, spec in specs.items()
    }
    speaks = config.policy.style.speaks
    for name, player in players.items():
        # They talk as the policy does, to be understood and learned from.
        if isinstance(player, ScriptedExperts):
            players[name] = replace(player, speaks=speaks)
    if partner.weights.get(MODEL) and partner.model:
        players[MODEL] = seat_remote(partner.model, given)
    if partner.weights.get(CHECKPOINT) and partner.checkpoint:
        players[CHECKPOINT] = _seat_checkpoint(partner.checkpoint, engines)
    if config.policy.name == API and config.policy.model:
        players[POLICY] = seat_remote(config.policy.model, given, purpose="policy")
    return players


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a run that closes its connections before the run does."""

    folder: Path
    closing: ExitStack

    def on_close(self, close: Callable[[], object]) -> None:
        self.closing.callback(close)


@contextmanager
def open_talk(config: RunConfig, run: Run, model: ModelConfig | CheckpointConfig) -> Iterator[Talk]:
    """Seat a model that demonstrates, with the run's judge; its calls are counted in the run.

    At the end its engine is closed, before the policy learns.
    """
    with ExitStack() as closing:
        context = _without_players(config, run, _Part(run.folder, closing))
        player: Player
        if isinstance(model, CheckpointConfig):
            player = _seat_checkpoint(model, context.engines)
        else:
            given = resources(context.remote, seed=config.seed)
            player = seat_remote(model, given, purpose="demonstrations")
        yield Talk(player, partial(play_in_waves, context, DEMONSTRATE, 0), run.folder)


def seat_remote(
    model: ModelConfig, given: Resources, *, purpose: Purpose = "partner"
) -> RemotePlayer:
    """A chat model behind an API as a player."""
    return RemotePlayer(
        given.chat(model),
        style_of(model.prompt_style, prose_is_speech=model.prose_is_speech),
        temperature=model.temperature,
        max_tokens=model.max_tokens,
        purpose=purpose,
    )


def _seat_checkpoint(partner: CheckpointConfig, engines: Engines) -> ModelPlayer:
    model, tokenizer = load_pretrained(partner.name)
    stream = ChatTemplate(tokenizer, thinking=partner.thinking)
    engine = engines.load(
        model,
        stop_tokens(model, tokenizer, stream),
        changes=False,
        tokenizer=for_patterns(tokenizer, partner),
    )
    return seat_model(Path(partner.name).name, engine, stream, partner)


def seat_model(
    name: str,
    engine: Engine,
    stream: ChatTemplate,
    how: PolicyConfig | CheckpointConfig,
    logit_bias: tuple[tuple[int, float], ...] = (),
) -> ModelPlayer:
    """A model that is loaded here as a player."""
    sampling = Sampling(how.temperature, how.max_new_tokens, logit_bias)
    return ModelPlayer(name, engine, stream, how.style, sampling, constrained=how.constrained)


def for_patterns(
    tokenizer: PreTrainedTokenizerBase, how: PolicyConfig | CheckpointConfig
) -> PreTrainedTokenizerBase | None:
    """The tokenizer, for an engine that is to constrain replies; None for one that is not."""
    return tokenizer if how.constrained else None


def stop_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate | None = None,
) -> tuple[int, ...]:
    """The tokens that end a turn: the end of sequence, the model's own list, the template's end.

    Raises:
        ConfigError: there are none.
    """
    listed = getattr(model.generation_config, "eos_token_id", None)
    own = [listed] if isinstance(listed, int) else list(listed or [])
    ends = [template.end_of_turn] if template is not None else []
    stops = {int(t) for t in [tokenizer.eos_token_id, *own, *ends] if t is not None}
    if not stops:
        raise ConfigError(
            "The model has no end-of-sequence token, so its turns would never end; set one in its "
            "tokenizer or generation_config.json."
        )
    return tuple(sorted(stops))


def seat_policies(play: PlayContext, bc: Checkpoint, policy: Checkpoint) -> LoadedEngine:
    """Add the policy, its frozen copy and the stubborn control; returns the policy's engine."""
    config, engines = play.config, play.engines
    stream = ChatTemplate(bc.tokenizer, thinking=config.policy.thinking)
    stop_ids = stop_tokens(bc.model, bc.tokenizer, stream)
    tokenizer = for_patterns(bc.tokenizer, config.policy)
    frozen = engines.load(bc.model, stop_ids, changes=False, tokenizer=tokenizer)
    engine = engines.load(policy.model, stop_ids, changes=True, tokenizer=tokenizer)
    play.players[POLICY] = seat_model(POLICY, engine, stream, config.policy)
    play.players[FROZEN] = seat_model(FROZEN, frozen, stream, config.policy)
    if config.evaluation.stubborn_bias is not None and not config.env.has_scenes:
        accept, bias = _tokens(bc, "accept"), -config.evaluation.stubborn_bias
        if len(accept) == 1:
            control = ((accept[0], bias),)
            play.players[STUBBORN] = seat_model(STUBBORN, frozen, stream, config.policy, control)
        else:
            play.notes += (_no_control(len(accept)),)
    return engine


def _tokens(checkpoint: Checkpoint, word: str) -> list[int]:
    return list(checkpoint.tokenizer(word, add_special_tokens=False)["input_ids"])


def _no_control(tokens: int) -> str:
    return (
        "There is no stubborn control: it lowers the one token for 'accept', which this tokenizer "
        f"writes in {tokens}. evaluation.stubborn_bias=null leaves it out without this note."
    )
