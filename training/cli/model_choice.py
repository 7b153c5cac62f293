"""Lets a model's name alone choose the options that go with it, on the command line.

`policy.name=MODEL` chooses policy=checkpoint, `partner.checkpoint.name=MODEL` partner=checkpoint
and `demonstrations.checkpoint.name=MODEL` demonstrations=self_chat_checkpoint; a checkpoint that
Parley trained brings the options that it learned with.
What the command line says itself comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.errors import ConfigError
from training.config.play import API, BUILT_IN_POLICIES
from training.storage.learned import learned_options, text, words
from training.storage.model_source import refuse_run

_GROUP_OF_STYLE = {"brief": "embedded", "full": "checkpoint"}
"""The files of conf/policy/ that suit a style; they fill in what a checkpoint does not record."""

_CHOSEN_BY_CHECKPOINT = {"partner": "checkpoint", "demonstrations": "self_chat_checkpoint"}
"""The files that the name of a model on disk chooses, by the section that names it."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The words of a command line with those that a model's name brings.

    Attributes:
        notes: sentences for people about what was chosen for them.
    """

    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


def with_model_options(given: Sequence[str]) -> ModelChoice:
    """Add what the names of models on the command line choose.

    Raises:
        ConfigError: a sweep over models needs different options for each.
        CheckpointError: a checkpoint's record cannot be read.
    """
    chosen = [_policy(given), *(_other(given, *each) for each in _CHOSEN_BY_CHECKPOINT.items())]
    return ModelChoice(
        (*(word for one in chosen for word in one.words), *given),
        tuple(note for one in chosen for note in one.notes),
    )


def _policy(given: Sequence[str]) -> ModelChoice:
    said = _said(given)
    if "policy.name" not in said or "policy" in said:
        return ModelChoice(())
    names = [name for name in _names(said["policy.name"]) if name]
    if not any(name not in (*BUILT_IN_POLICIES, API) for name in names):
        return ModelChoice(())
    found = [_chosen(name, said) for name in names]
    if any(other != found[0] for other in found):
        raise ConfigError(
            f"policy.name={said['policy.name']} sweeps over models that are asked in different "
            "ways; sweep over those of one kind, or say policy=... and its options."
        )
    return found[0]


def _chosen(name: str, said: Mapping[str, str]) -> ModelChoice:
    if name in (*BUILT_IN_POLICIES, API):
        return ModelChoice((f"policy={name}",))
    refuse_run(name, "policy.name")
    learned = learned_options(name)
    if not learned:
        note = (
            "policy.name is a model of yours, so policy=checkpoint is chosen: plain English, and "
            "turns of the length that --help policy=checkpoint shows; policy=... on the command "
            "line chooses otherwise."
        )
        return ModelChoice(("policy=checkpoint",), (note,))
    group = _GROUP_OF_STYLE[learned.get("prompt_style", "full")]
    return ModelChoice(
        (f"policy={group}", *_missing("policy", learned, said)), (_note("policy", learned),)
    )


def _other(given: Sequence[str], section: str, choice: str) -> ModelChoice:
    """What another model than the policy chooses: the file `choice` of its section."""
    said = _said(given)
    checkpoint = f"{section}.checkpoint"
    name = said.get(f"{checkpoint}.name")
    if name is None or said.get(section, choice) != choice:
        return ModelChoice(())
    group = () if section in said else (f"{section}={choice}",)
    names = _names(name)
    for each in names:
        refuse_run(each, f"{checkpoint}.name")
    learned = learned_options(names[0]) if len(names) == 1 else {}
    if not learned:
        return ModelChoice(group)
    return ModelChoice(
        (*group, *_missing(checkpoint, learned, said)), (_note(checkpoint, learned),)
    )


def _missing(section: str, learned: Mapping[str, Any], said: Mapping[str, str]) -> list[str]:
    return [
        f"{section}.{name}={text(value)}"
        for name, value in learned.items()
        if f"{section}.{name}" not in said
    ]


def _note(section: str, learned: Mapping[str, Any]) -> str:
    return f"{section}.name is a checkpoint, trained with {words(section, learned)}."


def _said(given: Sequence[str]) -> dict[str, str]:
    """What the words set, by name; of several words for one name the last."""
    pairs = (word.partition("=") for word in given if not word.startswith("-"))
    return {name.lstrip("+"): value for name, equals, value in pairs if equals}


def _names(value: str) -> list[str]:
    """The name, or those of a sweep."""
    return [name.strip().strip("'\"") for name in value.split(",")]
