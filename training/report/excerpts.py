"""Selects the episodes and branch groups that a report shows: a few of each kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from training.methods.records import BranchGroup, Example, PlayedEpisode
from training.report.transcripts import (
    GroupView,
    TranscriptView,
    view_episode,
    view_group,
    view_pair,
)
from training.storage.run_files import BC, TRAINED
from training.storage.store import Store, WaveKey

SHOWN_EPISODES, SHOWN_GROUPS, SHOWN_COMPARISONS = 3, 4, 2
_BEFORE, _AFTER = f"evaluate-{BC}-", f"evaluate-{TRAINED}-"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """A few episodes with a common title."""

    title: str
    episodes: tuple[TranscriptView, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A scenario played against one partner by bc (before) and by the trained policy (after)."""

    partner: str
    before: TranscriptView
    after: TranscriptView


def collected(store: Store) -> list[Sample]:
    """Episodes of the last wave of data collection, each kind of ending first."""
    return _sample("collected", _last_wave(store, "collect"))


def comparisons(store: Store) -> list[Comparison]:
    """For each partner, the first scenarios in which bc and the trained policy differ in goal."""
    found = []
    for phase in _phases(store, _AFTER):
        partner = phase.removeprefix(_AFTER)
        # Policies play the same scenarios from the same seats with the same seeds.
        before = {played.seed: played for played in _last_wave(store, _BEFORE + partner)}
        both = [(before.get(after.seed), after) for after in _last_wave(store, phase)]
        pairs = [(b, a) for b, a in both if b is not None and _goals(b) != _goals(a)]
        found += [
            Comparison(partner, view_episode(b), view_episode(a))
            for b, a in pairs[:SHOWN_COMPARISONS]
        ]
    return found


def evaluated(store: Store) -> list[Sample]:
    """Episodes against each partner, if there is no bc to compare with; else none."""
    if _phases(store, _BEFORE):
        return []
    return [
        sample
        for phase in _phases(store, _AFTER)
        for sample in _sample(f"against {phase.removeprefix(_AFTER)}", _last_wave(store, phase))
    ]


def groups(store: Store) -> list[GroupView]:
    """Branch groups of the last wave that has some to show, one of each critic and family first.

    Groups that were trained on are shown as pairs; without any, those whose branches differ.
    """
    for key in reversed(store.waves()):
        of_wave = store.groups(key.iteration, key.wave)
        if not of_wave:
            continue
        examples = {example.group_id: example for example in store.examples(key.iteration)}
        shown = _shown_groups(of_wave, examples)
        if shown:
            return shown
    return []


def _shown_groups(of_wave: Sequence[BranchGroup], examples: dict[str, Example]) -> list[GroupView]:
    if examples:
        trained = _varied((group for group in of_wave if group.id in examples), _kind)
        return [view_pair(group, examples[group.id]) for group in trained[:SHOWN_GROUPS]]
    decided = _varied((group for group in of_wave if len(set(group.win_probs)) > 1), _kind)
    return [view_group(group) for group in decided[:SHOWN_GROUPS]]


def _sample(title: str, played: Sequence[PlayedEpisode]) -> list[Sample]:
    shown = _varied(played, lambda p: p.episode.end)[:SHOWN_EPISODES]
    return [Sample(title, tuple(view_episode(p) for p in shown))] if shown else []


def _phases(store: Store, prefix: str) -> list[str]:
    return list(dict.fromkeys(k.phase for k in store.waves() if k.phase.startswith(prefix)))


def _last_wave(store: Store, phase: str) -> list[PlayedEpisode]:
    keys: list[WaveKey] = [key for key in store.waves() if key.phase == phase]
    if not keys:
        return []
    return store.episodes(phase, keys[-1].iteration, keys[-1].wave)


def _varied(items: Iterable[T], kind: Callable[[T], Hashable]) -> list[T]:
    """Reorder items so that the first of each kind comes before the others."""
    listed = list(items)
    first = {kind(item): index for index, item in reversed(list(enumerate(listed)))}
    order = sorted(range(len(listed)), key=lambda index: first[kind(listed[index])] != index)
    return [listed[index] for index in order]


def _kind(group: BranchGroup) -> tuple[str, str]:
    return group.critic, group.branches[0].episode.scenario.family


def _goals(played: PlayedEpisode) -> list[float]:
    return [scores.goal for scores in played.judgement.scores]
