"""Converts records to database rows and back without loss.

Token ids and log-probs are packed arrays of numbers, everything else is JSON, so that any SQLite
or DuckDB client can read it.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from engines.types import Generation, Sampling
from envs.types import (
    Action,
    ActionType,
    Deal,
    EndReason,
    Episode,
    Profile,
    Relationship,
    Scenario,
    Turn,
)
from judges.base import DIMENSION_RANGES, Judgement, Scores
from judges.pairwise import Preferences
from training.methods.records import BranchGroup, BranchTokens, Example, PlayedEpisode

SCORED, UNSCORED = "scored", "unscored"
"""The two states of a judgement; a failed judgement has no scores."""


def pack_ids(ids: Sequence[int]) -> bytes:
    """Pack token ids as little-endian int32, four bytes each."""
    return struct.pack(f"<{len(ids)}i", *ids)


def unpack_ids(blob: bytes) -> tuple[int, ...]:
    """Inverse of `pack_ids`."""
    return struct.unpack(f"<{len(blob) // 4}i", blob)


def pack_logps(logps: Sequence[float]) -> bytes:
    """Pack log-probs as little-endian float64, which keeps Python floats bit for bit."""
    return struct.pack(f"<{len(logps)}d", *logps)


def unpack_logps(blob: bytes) -> tuple[float, ...]:
    """Inverse of `pack_logps`."""
    return struct.unpack(f"<{len(blob) // 8}d", blob)


def scenario_row(scenario: Scenario) -> tuple[str, str, str, str]:
    """The columns of `scenarios`; the payload omits the task, which the family can rebuild."""
    payload = json.dumps(
        {
            "context": scenario.context,
            "goals": scenario.goals,
            "briefs": scenario.briefs,
            "profiles": [_by_field(profile) for profile in scenario.profiles],
            "relationship": int(scenario.relationship),
        }
    )
    return scenario.id, scenario.family, scenario.split, payload


def _by_field(value: Profile | Scores) -> dict[str, object]:
    """`asdict` for a dataclass without nested ones; faster, for it copies nothing."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def bare_scenario(row: sqlite3.Row) -> Scenario:
    """The scenario of a row, without its task: enough to show it, not to check a deal."""
    fields = json.loads(row["payload"])
    return Scenario(
        id=row["id"],
        family=row["family"],
        split=row["split"],
        context=fields["context"],
        goals=tuple(fields["goals"]),
        briefs=tuple(fields["briefs"]),
        profiles=tuple(_profile(profile) for profile in fields["profiles"]),
        relationship=Relationship(fields["relationship"]),
    )


def _profile(fields: dict[str, Any]) -> Profile:
    for name in ("moral_values", "schwartz_personal_values"):
        fields[name] = tuple(fields[name])
    return Profile(**fields)


def turns_text(turns: Sequence[Turn]) -> str:
    """The transcript as a JSON list of objects."""
    return json.dumps(
        [
            {
                "index": turn.index,
                "seat": turn.seat,
                "type": turn.action.type,
                "argument": turn.action.argument,
                "invalid": turn.action.invalid,
            }
            # Left out where they are empty, as they are in stores of earlier versions.
            | ({"words": turn.action.words} if turn.action.words else {})
            | ({"near_miss": turn.action.near_miss} if turn.action.near_miss else {})
            for turn in turns
        ]
    )


def parse_turns(text: str) -> tuple[Turn, ...]:
    """Inverse of `turns_text`."""
    return tuple(
        Turn(
            turn["index"],
            turn["seat"],
            Action(
                ActionType(turn["type"]),
                turn["argument"],
                turn["invalid"],
                turn.get("words", ""),
                turn.get("near_miss"),
            ),
        )
        for turn in json.loads(text)
    )


def episode_row(played: PlayedEpisode) -> dict[str, object]:
    """The columns of `episodes` that come from the record, by name."""
    episode = played.episode
    return {
        "id": played.id,
        "scenario_id": episode.scenario.id,
        "players": json.dumps(played.players),
        "turns": turns_text(episode.turns),
        "end": episode.end.value,
        "deal": None if episode.deal is None else json.dumps(episode.deal),
        "seed": str(played.seed),  # SQLite's integers end at 2**63, Python's seeds do not
        "parent_id": played.parent_id,
        "branch_turn": played.branch_turn,
    }


def judgement_row(played: PlayedEpisode) -> dict[str, object]:
    """The columns of `judgements`, by name."""
    judgement = played.judgement
    return {
        "episode_id": played.id,
        "judge_id": judgement.judge_id,
        "judge_version": judgement.judge_version,
        "status": SCORED if judgement.is_scored else UNSCORED,
        "scores": json.dumps([_by_field(scores) for scores in judgement.scores]),
        "reasons": json.dumps(judgement.reasons),
        "details": json.dumps(dict(judgement.details)),
    }


def generation_rows(played: PlayedEpisode) -> Iterator[tuple[object, ...]]:
    """One row for each turn that a model wrote, in the column order of `generations`."""
    for turn, made in zip(played.episode.turns, played.generations, strict=True):
        if made is not None:
            yield (
                played.id,
                turn.index,
                turn.seat,
                pack_ids(made.context_ids),
                pack_ids(made.token_ids),
                pack_logps(made.logps),
                _sampling_text(made.sampling),
                str(made.seed),
                made.weights_version,
                made.constraint_nats,
            )


def played_episode(
    row: Mapping[str, Any], scenario: Scenario, generation_of: Mapping[int, Generation]
) -> PlayedEpisode:
    """Build a record from a row that joins an episode with its judgement.

    Args:
        generation_of: the episode's generations by turn index.
    """
    turns = parse_turns(row["turns"])
    deal: Deal | None = None if row["deal"] is None else tuple(json.loads(row["deal"]))
    judgement = Judgement(
        judge_id=row["judge_id"],
        judge_version=row["judge_version"],
        scores=tuple(_scores(scores) for scores in json.loads(row["scores"])),
        reasons=tuple(json.loads(row["reasons"])),
        details=json.loads(row["details"]),
    )
    return PlayedEpisode(
        id=row["id"],
        episode=Episode(scenario, turns, EndReason(row["end"]), deal),
        players=tuple(json.loads(row["players"])),
        generations=tuple(generation_of.get(turn.index) for turn in turns),
        seed=int(row["seed"]),
        judgement=judgement,
        parent_id=row["parent_id"],
        branch_turn=row["branch_turn"],
    )


def generation(row: sqlite3.Row) -> Generation:
    """Build a `Generation` from a row of `generations`."""
    columns = row.keys()
    return Generation(
        context_ids=unpack_ids(row["context_ids"]),
        token_ids=unpack_ids(row["token_ids"]),
        logps=unpack_logps(row["logps"]),
        sampling=_parse_sampling(row["sampling"]),
        seed=int(row["seed"]),
        weights_version=row["weights_version"],
        constraint_nats=row["constraint_nats"] if "constraint_nats" in columns else None,
    )


def group_row(group: BranchGroup) -> dict[str, object]:
    """The columns of `groups` that come from the record, by name."""
    preferences = group.preferences
    return {
        "id": group.id,
        "episode_id": group.branches[0].id,
        "seat": group.seat,
        "turn": group.turn,
        "critic": group.critic,
        "reason": group.reason,
        "segment_turns": group.segment_turns,
        "preferences": None if preferences is None else json.dumps(asdict(preferences)),
    }


def parse_preferences(text: str) -> Preferences:
    """Parse the `preferences` column of `groups`."""
    fields = json.loads(text)
    fields["matrix"] = tuple(map(tuple, fields["matrix"]))
    return Preferences(**fields)


def example_text(example: Example) -> str:
    """Encode a training example as JSON."""
    return json.dumps(asdict(example))


def parse_example(text: str) -> Example:
    """Inverse of `example_text`."""
    fields = json.loads(text)
    branches = tuple(
        BranchTokens(tuple(b["token_ids"]), tuple(b["loss_mask"]), b["win_prob"])
        for b in fields["branches"]
    )
    return Example(fields["group_id"], tuple(fields["trunk_ids"]), branches)


def _scores(fields: dict[str, float]) -> Scores:
    return Scores(**{name: fields[name] for name in DIMENSION_RANGES})


@lru_cache(maxsize=256)
def _sampling_text(sampling: Sampling) -> str:
    fields = asdict(sampling)
    if sampling.pattern is None:  # as it was stored before there were patterns
        del fields["pattern"]
    return json.dumps(fields)


@lru_cache(maxsize=256)
def _parse_sampling(text: str) -> Sampling:
    fields = json.loads(text)
    bias = tuple((int(token_id), value) for token_id, value in fields.pop("logit_bias"))
    return Sampling(logit_bias=bias, **fields)
