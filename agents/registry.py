"""The registry of players that need none of the run's weights: partners that packages may add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from agents.human import HumanPlayer
from agents.scripted import ScriptedExperts
from engines.models import Resources
from envs.registry import Component, NoOptions, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerSpec(Component):
    """A registered player: a dataclass, or a function of (options, resources) that builds one.

    Attributes:
        needs_task: whether it plays only scenarios with a task that a program can check.
        is_person: whether a person plays at the terminal, one episode after the other.
    """

    needs_task: bool = False
    is_person: bool = False


PLAYERS: Registry[PlayerSpec] = Registry("player", group="players", modules=["agents.registry"])
"""All registered players by name."""

M = TypeVar("M", bound=Callable[..., object])


def player(name: str, *, needs_task: bool = False, is_person: bool = False) -> Callable[[M], M]:
    """Register a player by its name; see `PlayerSpec` for the rest."""
    return PLAYERS.registers(PlayerSpec, name, needs_task=needs_task, is_person=is_person)


@player("experts", needs_task=True)
def experts(options: NoOptions, resources: Resources) -> ScriptedExperts:
    """Scripted experts of mixed skill."""
    return ScriptedExperts()


@player("human", is_person=True)
def human(options: NoOptions, resources: Resources) -> HumanPlayer:
    """A person at the terminal."""
    return HumanPlayer()
