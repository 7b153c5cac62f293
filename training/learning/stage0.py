"""Stage 0: the first policy of a run, by behaviour cloning of demonstrations.

It depends on few options and is cached under the output root by a hash of them and of the weights
that it starts from. A later run with the same options loads it instead of training it again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.chat_template import ChatTemplate
from agents.embedded import BASE_FOLDER, Shape, make_model, make_tokenizer
from agents.vocabulary import missing_words
from engines.weights import weights_version
from envs.errors import CheckpointError, ConfigError
from envs.options import to_mapping
from training.config import RunConfig
from training.learning.cloning import Cloned, clone
from training.learning.low_rank import low_rank
from training.learning.passes import move
from training.learning.probe import check_trainable
from training.learning.sources.base import Demonstrations, OpenTalk, Stage0
from training.learning.sources.files import file_of
from training.learning.under_way import UnderWay
from training.play.waves import Progress
from training.storage.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from training.storage.files import flush, part_of, writing
from training.storage.learned import learned_with
from training.storage.model_source import file_stamps
from training.storage.pretrained import load_pretrained
from training.storage.run import Run
from training.storage.run_files import CACHE

_RECIPE_VERSION = 4
"""Raise when experts, notes or the training of stage 0 change, to invalidate the cache."""


def clone_behaviour(
    config: RunConfig,
    run: Run,
    progress: Progress,
    open_talk: OpenTalk,
    tell: Callable[[str], None],
) -> Checkpoint:
    """The behaviour-cloned policy: from this run, from the cache, or trained now.

    Args:
        open_talk: seats a model that demonstrates.
        tell: prints a sentence for the user.

    Raises:
        TrainingError: the model cannot be trained as it should, or its loss is not finite.
    """
    folder = run.checkpoint_folder(0)
    if run.last_committed() is not None:
        return load_checkpoint(folder)
    model, tokenizer = first_model(config)
    check_trainable(move(model, config.device), config.update.token_budget)
    cache = Path(config.output_root) / CACHE / f"clone-{_fingerprint(config, model)}"
    state: dict[str, Any] = {"stage": 0}
    if config.cloning.dialogues:
        cached = _cached(cache, tell)
        if cached is None:
            under_way = UnderWay(cache.with_name(f"{cache.name}.under-way.safetensors"))
            told, cloned = _train(config, model, tokenizer, progress, open_talk, under_way)
            state |= told
            if cloned.end > cloned.start:
                tell(_risen(cloned, config))
            else:
                _keep(cache, model, tokenizer, state)
                cached = load_checkpoint(cache)
            under_way.done()
        if cached is not None:
            model, state = cached.model, cached.trainer_state
    learned = learned_with(config.policy)
    run.commit(
        0, {}, lambda place: save_checkpoint(place, model, tokenizer, state, learned=learned)
    )
    return load_checkpoint(folder)


def _cached(cache: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """The clone in the cache; None if there is none, or a damaged one, which is removed."""
    if not cache.is_dir():
        return None
    try:
        return load_checkpoint(cache)
    except (CheckpointError, ConfigError) as error:
        tell(f"The cached clone is damaged, and is removed and trained again ({error})")
        shutil.rmtree(cache)
        return None


def _risen(cloned: Cloned, config: RunConfig) -> str:
    return (
        f"Stage 0 made the policy worse: the loss of its first batch rose from {cloned.start:.3g} "
        f"to {cloned.end:.3g} nats a token. The run goes on from there, but the clone is not kept "
        f"for other runs. Lower cloning.lr, which is {config.cloning.lr:g}."
    )


def first_model(config: RunConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that stage 0 starts from: the shipped one, fresh weights, or a folder."""
    if config.policy.name == "scratch":
        extra = missing_words(config.env.names)
        return make_model(Shape(), seed=config.seed, extra_words=extra), make_tokenizer(extra)
    return load_pretrained(BASE_FOLDER if config.policy.name == "embedded" else config.policy.name)


def _train(
    config: RunConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
    open_talk: OpenTalk,
    under_way: UnderWay,
) -> tuple[dict[str, Any], Cloned]:
    """Train the model; returns what is to be told of the demonstrations that were selected."""
    source = config.demonstrations.spec
    template = ChatTemplate(tokenizer, thinking=config.policy.thinking)
    stage = Stage0(config, template, open_talk, progress)
    found: Demonstrations = source.make(config.demonstrations.options_for(source), stage)
    with low_rank(move(model, config.device), config.lora, seed=config.seed) as factor:
        cloned = clone(
            model,
            found.rows,
            replace(config.cloning, lr=config.cloning.lr * factor),
            seed=config.seed,
            on_step=lambda step, steps, loss: progress(step, steps),
            under_way=under_way,
        )
    if not source.selects:
        return {}, cloned
    told = {
        "read": found.read,
        "dialogues": found.dialogues,
        "kept": found.kept,
        "dropped": dict(found.dropped),
        "told": found.describe(),
        "alarm": found.alarm(),
    }
    return {"demonstrations": told}, cloned


def _keep(
    cache: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    state: Mapping[str, object],
) -> None:
    """Put the policy into the cache, unless another run has put the same one there meanwhile."""
    own = part_of(cache)
    save_checkpoint(own, model, tokenizer, state)
    try:
        own.rename(cache)
    except OSError:
        if not cache.is_dir():
            raise
        shutil.rmtree(own)
    with writing(cache):
        flush(cache.parent)  # before the training under way, which could do it again, is removed


def _fingerprint(config: RunConfig, model: PreTrainedModel) -> str:
    """A hash of everything that the policy depends on, 16 hex digits."""
    content = {
        "recipe": _RECIPE_VERSION,
        "weights": weights_version(model),
        "cloning": asdict(config.cloning),
        "lora": asdict(config.lora),
        "families": config.env.families,
        "max_turns": config.env.max_turns,
        "difficulty": config.env.difficulty,
        "order": config.env.order,
        "style": config.policy.prompt_style,
        "profiles": config.policy.profiles,
        "seed": config.seed,
    } | ({"thinking": True} if config.policy.thinking else {})
    if config.demonstrations.spec.selects:
        path, other = config.demonstrations.path, config.demonstrations.checkpoint
        content |= {
            "demonstrations": to_mapping(config.demonstrations),
            "judge": to_mapping(config.judge),
            "demonstrator": file_stamps(other.name) if other else [],
            "train_on_benchmark": config.env.train_on_benchmark,
            "files": [
                sha256(file.read_bytes()).hexdigest()
                for file in (config.env.scene_file, file_of(path) if path else None)
                if file is not None
            ],
        }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
