"""Reads SOTOPIA's files as scenarios: every combination of scene and characters, in fixed order.

    load_sotopia("path/to/sotopia", split="hard")

The folder holds `environment_profiles.jsonl`, `agent_profiles.jsonl`,
`env_agent_combo_storages.jsonl` and, for the split "hard", `hard_combos.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envs.errors import DataError, quoted
from envs.scenarios.markup import seen_by, seen_by_all
from envs.scenarios.records import (
    AgentRecord,
    ComboRecord,
    EnvironmentRecord,
    RelationshipRecord,
    check_unique,
    place,
    read_json_list,
    read_jsonl,
)
from envs.scenarios.sotopia_tasks import Verifiable, read_verifiable
from envs.types import Profile, Relationship, Scenario

PROTOCOL: Final = "parley-sotopia/1"
"""Name and version of this protocol: all combinations of a split in this order, both seats, with
tasks where there are any. Results name it; the version rises when any of that changes."""

PLAIN_PROTOCOL: Final = "parley-sotopia-plain/1"
"""The protocol without tasks, where every word is SOTOPIA's own."""

SPLITS: Final = ("all", "hard", "cooperative", "competitive")

CONTESTED_SOURCES: Final = frozenset({"deal-or-no-deal", "craigslist_bargains"})
"""Sources in whose scenarios one seat gains only what the other loses."""

CONTESTED_CODENAMES: Final = frozenset(
    {
        "unwelcome_guest",
        "sell_item",
        "tree_trimming",
        "distance_friend",
        "split_classes",
        "join_trip",
        "game_winning",
        "share_stuff",
        "play_rights",
        "life_dilemma",
        "fire_trash",
        "revenge_plot",
        "share_blanket",
        "sleep_arrangement",
        "reveal_answer",
        "donate_funds",
        "donate_to_cause",
        "matching_donation",
        "secret_feeling",
        "drink_less",
        "music_preference",
        "yell",
        "disagree_on_movie",
        "movie_to_watch",
        "prison_dilemma",
        "take_turns",
        "borrow_money",
    }
)
"""Scenarios of other sources whose goals, as written, cannot both be met in full."""

_FILES: Final = {
    "environments": "environment_profiles.jsonl",
    "agents": "agent_profiles.jsonl",
    "relationships": "relationship_profiles.jsonl",
    "combos": "env_agent_combo_storages.jsonl",
    "hard": "hard_combos.json",
}


@dataclass(frozen=True, slots=True)
class SotopiaFiles:
    """The checked contents of a folder with SOTOPIA's files, in the files' order."""

    folder: Path
    environments: tuple[EnvironmentRecord, ...]
    agents: tuple[AgentRecord, ...]
    combos: tuple[ComboRecord, ...]

    @property
    def hard(self) -> tuple[ComboRecord, ...]:
        """SOTOPIA's hard combinations."""
        path = self.folder / _FILES["hard"]
        combos = read_json_list(path, ComboRecord)
        _check_combos(combos, path, self.environments, self.agents)
        return tuple(combos)

    @property
    def relationships(self) -> tuple[RelationshipRecord, ...]:
        """The characters' relationships beyond the scenarios, which episodes do not use."""
        path = self.folder / _FILES["relationships"]
        records = read_jsonl(path, RelationshipRecord)
        known = {agent.agent_id for agent in self.agents}
        for number, record in enumerate(records, start=1):
            for field in ("agent1_id", "agent2_id"):
                if (name := getattr(record, field)) not in known:
                    raise _missing(path, number, field, name, _FILES["agents"])
        return tuple(records)


def read_sotopia(path: Path | str) -> SotopiaFiles:
    """Read and check a folder of SOTOPIA's files.

    Raises:
        DataError: a file, field, character or scenario is missing or wrong; names where.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}; expected one with SOTOPIA's files "
            f"({', '.join(_FILES.values())})."
        )
    environments = read_jsonl(folder / _FILES["environments"], EnvironmentRecord)
    agents = read_jsonl(folder / _FILES["agents"], AgentRecord)
    combos = read_jsonl(folder / _FILES["combos"], ComboRecord)
    check_unique([e.env_id for e in environments], folder / _FILES["environments"])
    check_unique([a.agent_id for a in agents], folder / _FILES["agents"])
    check_unique([c.combo_id for c in combos], folder / _FILES["combos"])
    _check_combos(combos, folder / _FILES["combos"], environments, agents)
    return SotopiaFiles(folder, tuple(environments), tuple(agents), tuple(combos))


def needed_files(split: str) -> tuple[str, ...]:
    """The names of the files that `load_sotopia` reads for a split."""
    kinds = ("environments", "agents", "combos", *(("hard",) if split == "hard" else ()))
    return tuple(_FILES[kind] for kind in kinds)


def sources_of(path: Path | str) -> dict[str, str]:
    """The source of each scene, such as "craigslist_bargains", by its env_id.

    Raises:
        DataError: the files are not as they should be.
    """
    return {record.env_id: record.source for record in read_sotopia(path).environments}


def load_sotopia(
    path: Path | str, split: str = "all", *, verifiable: bool = True
) -> list[Scenario]:
    """SOTOPIA's combinations as scenarios, in the order of the scenes, then of the combinations.

    Args:
        path: the folder with SOTOPIA's files.
        split: "all", "hard" (SOTOPIA's list), "cooperative" or "competitive". Competitive are the
            scenarios of `CONTESTED_SOURCES` and `CONTESTED_CODENAMES`, cooperative all others.
        verifiable: False leaves out tasks and how to act in them, as SOTOPIA has neither.

    Raises:
        DataError: no such split, or the files are not as they should be.
    """
    if split not in SPLITS:
        raise DataError(f"SOTOPIA has no split {split!r}, expected one of {', '.join(SPLITS)}.")
    files = read_sotopia(path)
    combos = files.hard if split == "hard" else files.combos
    profiles = {agent.agent_id: agent.profile() for agent in files.agents}
    scenarios = []
    for environment in files.environments:
        if split in ("cooperative", "competitive") and kind_of(environment) != split:
            continue
        read = read_verifiable(environment) if verifiable else None
        scenarios += [
            _scenario(environment, combo, profiles, read, plain=not verifiable)
            for combo in combos
            if combo.env_id == environment.env_id
        ]
    return scenarios


def kind_of(environment: EnvironmentRecord) -> str:
    """The split "cooperative" or "competitive" that a scenario belongs to."""
    contested = (
        environment.source in CONTESTED_SOURCES or environment.codename in CONTESTED_CODENAMES
    )
    return "competitive" if contested else "cooperative"


def _scenario(
    environment: EnvironmentRecord,
    combo: ComboRecord,
    profiles: dict[str, Profile],
    read: Verifiable | None,
    *,
    plain: bool,
) -> Scenario:
    goals = [seen_by(goal, seat) for seat, goal in enumerate(environment.agent_goals)]
    context = seen_by_all(environment.scenario)
    if read is not None:
        context = f"{context}\n{read.acts}"
        goals = [f"{goal} {note}".strip() for goal, note in zip(goals, read.notes, strict=True)]
    return Scenario(
        id=f"sotopia{'-plain' if plain else ''}/{environment.env_id}/{combo.combo_id}",
        family="sotopia",
        split="test",
        context=context,
        goals=tuple(goals),
        briefs=("",) * len(goals),
        profiles=tuple(profiles[name] for name in combo.agent_ids),
        relationship=Relationship(environment.relationship),
        task=None if read is None else read.task,
    )


def _check_combos(
    combos: Sequence[ComboRecord],
    path: Path,
    environments: Sequence[EnvironmentRecord],
    agents: Sequence[AgentRecord],
) -> None:
    seats = {environment.env_id: len(environment.agent_goals) for environment in environments}
    known = {agent.agent_id for agent in agents}
    for number, combo in enumerate(combos, start=1):
        if combo.env_id not in seats:
            raise _missing(path, number, "env_id", combo.env_id, _FILES["environments"])
        for position, name in enumerate(combo.agent_ids):
            if name not in known:
                raise _missing(path, number, f"agent_ids.{position}", name, _FILES["agents"])
        if len(combo.agent_ids) != seats[combo.env_id]:
            raise DataError(
                f"{place(path, number)}, field 'agent_ids': got {len(combo.agent_ids)} "
                f"characters for a scenario with {seats[combo.env_id]} goals."
            )


def _missing(path: Path, number: int, field: str, name: str, file: str) -> DataError:
    return DataError(
        f"{place(path, number)}, field {field!r}: got {quoted(name)}, which is not in {file}."
    )
