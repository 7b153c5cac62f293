"""Stores everything that a run produces (episodes, tokens, judgements, groups) in one SQLite file.

Work is committed in *waves*, one transaction each: after a kill -9 a wave is stored as a whole or
not at all, and `wave_done` says which. Rows are only added, so a reader may read groups first and
the episodes they refer to afterwards, also while the run continues. Only an episode that a server's
failure left unscored, and on which nothing was built, is replaced when it is played again. Whatever
is read is compared with the digest that was committed with it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from engines.types import Generation
from envs.errors import StoreError
from envs.types import Scenario
from training.methods.records import BranchGroup, Example, PlayedEpisode
from training.storage import rows
from training.storage.database import (
    RESCUE,
    checked_rows,
    has_digests,
    lock_for_writing,
    open_for_reading,
    open_for_writing,
    part_keys,
    reading,
    transaction,
)
from training.storage.digests import Key, seal

_ADD_GENERATION = "INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, order=True)
class WaveKey:
    """Identifies a wave; `wave` counts from 0 within its phase and iteration."""

    phase: str
    iteration: int
    wave: int


@dataclass(frozen=True, slots=True)
class Drop:
    """A number of items that a stage of one iteration left out, and the reason."""

    iteration: int
    stage: str
    reason: str
    count: int


_EPISODES = ("scenarios", "episodes", "generations", "judgements")
_GROUPS = ("groups", "branches")


class Wave:
    """A wave that is being written, inside its transaction; `Store.wave` makes one."""

    def __init__(self, connection: sqlite3.Connection, key: WaveKey) -> None:
        self._db = connection
        self.key = key
        place = (key.iteration, key.wave)
        self._keys: dict[str, Key] = {
            **dict.fromkeys(_EPISODES, (key.phase, *place)),
            **dict.fromkeys(_GROUPS, place),
            **dict.fromkeys(("examples", "drops"), (key.iteration,)),
            "waves": (key.phase, key.iteration),
        }
        self._written = {"waves"}

    def seal(self) -> None:
        """Write down the digests of what was added; `Store.wave` does it before it commits."""
        for table in sorted(self._written):
            seal(self._db, table, self._keys[table])

    def add_episodes(self, episodes: Sequence[PlayedEpisode]) -> None:
        """Add new episodes with their scenarios, generations and judgements."""
        self._written.update(_EPISODES)
        self._add_scenarios({e.episode.scenario.id: e.episode.scenario for e in episodes})
        key = {"phase": self.key.phase, "iteration": self.key.iteration, "wave": self.key.wave}
        self._db.executemany(
            "INSERT INTO episodes VALUES (:id, :phase, :iteration, :wave, :scenario_id, :players,"
            " :turns, :end, :deal, :seed, :parent_id, :branch_turn)",
            (rows.episode_row(e) | key for e in episodes),
        )
        self._db.executemany(
            _ADD_GENERATION, (row for e in episodes for row in rows.generation_rows(e))
        )
        self._db.executemany(
            "INSERT INTO judgements VALUES"
            " (:episode_id, :judge_id, :judge_version, :status, :scores, :reasons, :details)",
            (rows.judgement_row(e) for e in episodes),
        )

    def add_groups(self, groups: Sequence[BranchGroup]) -> None:
        """Add groups, and those of their branches that are not stored yet.

        The original continuation usually is stored: an earlier wave collected it.
        """
        self._written.update(_GROUPS)
        branches = {b.id: b for group in groups for b in group.branches}
        self.add_episodes([b for b in branches.values() if not self._has(b)])
        at = {"iteration": self.key.iteration, "wave": self.key.wave}
        self._db.executemany(
            "INSERT INTO groups VALUES (:id, :iteration, :wave, :episode_id, :seat, :turn, :critic,"
            " :reason, :segment_turns, :preferences)",
            [rows.group_row(group) | at for group in groups],
        )
        self._db.executemany(
            "INSERT INTO branches VALUES (?, ?, ?, ?)",
            [
                (g.id, k, branch.id, win_prob)
                for g in groups
                for k, (branch, win_prob) in enumerate(zip(g.branches, g.win_probs, strict=True))
            ],
        )

    def add_examples(self, examples: Sequence[Example]) -> None:
        """Add training examples, numbered after those of the iteration's earlier waves."""
        self._written.add("examples")
        iteration = self.key.iteration
        (first,) = self._db.execute(
            "SELECT COALESCE(MAX(k) + 1, 0) FROM examples WHERE iteration = ?", (iteration,)
        ).fetchone()
        self._db.executemany(
            "INSERT INTO examples VALUES (?, ?, ?, ?)",
            [
                (iteration, k, example.group_id, rows.example_text(example))
                for k, example in enumerate(examples, start=first)
            ],
        )

    def add_drops(self, stage: str, counts: Mapping[str, int]) -> None:
        """Add to the counts of items that `stage` left out in this iteration, by reason."""
        self._written.add("drops")
        self._db.executemany(
            "INSERT INTO drops VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(self.key.iteration, stage, reason, count) for reason, count in counts.items()],
        )

    def _add_scenarios(self, scenarios: Mapping[str, Scenario]) -> None:
        for scenario in scenarios.values():
            made = rows.scenario_row(scenario)
            self._db.execute("INSERT OR IGNORE INTO scenarios VALUES (?, ?, ?, ?)", made)
            _check_scenario(_scenario_row(self._db, scenario.id), made)

    def _has(self, played: PlayedEpisode) -> bool:
        cursor = self._db.execute("SELECT turns, seed FROM episodes WHERE id = ?", (played.id,))
        row = cursor.fetchone()
        if row is None:
            return False
        if tuple(row) != (rows.turns_text(played.episode.turns), str(played.seed)):
            raise StoreError(
                f"episode {played.id} is in the store with another transcript or seed, but one id "
                "must mean one episode: make the id from all that tells two episodes apart."
            )
        return True


class Store:
    """The database of one run, `store.sqlite`.

    Args:
        path: the file; created if it does not exist.
        scenario_of: rebuilds a scenario, task included, from its id. Without it, episodes are
            read with `scenario.task` None, which is enough to show them.
        writable: False opens an existing file for reading only.

    Raises:
        StoreError: another process writes to it, or it has another schema version.
    """

    def __init__(
        self,
        path: Path | str,
        scenario_of: Callable[[str], Scenario] | None = None,
        *,
        writable: bool = True,
    ) -> None:
        self.path = Path(path)
        self._scenario_of = scenario_of
        self._scenarios: dict[str, Scenario] = {}
        self._lock = lock_for_writing(self.path) if writable else None
        try:
            self._db = (open_for_writing if writable else open_for_reading)(self.path)
        except StoreError:
            self._unlock()
            raise

    @classmethod
    def read_only(
        cls, path: Path | str, scenario_of: Callable[[str], Scenario] | None = None
    ) -> Self:
        """Open an existing store for reading, also while a run writes to it.

        Raises:
            StoreError: there is none, or it has another schema version.
        """
        return cls(path, scenario_of, writable=False)

    @property
    def has_digests(self) -> bool:
        """Whether damage is noticed; not in a store of an earlier release, opened for reading."""
        return has_digests(self._db)

    def step_names(self) -> list[str]:
        """The names of all steps that are done in some iteration."""
        return [str(name) for (name,) in self._keys("steps")]

    def close(self) -> None:
        """Close the database and release the write lock."""
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def wave(self, phase: str, iteration: int, wave: int) -> Iterator[Wave]:
        """Write a wave in one transaction: what the block adds is on disk after it, or not at all.

        Do not await inside the block. An exception rolls the transaction back.

        Raises:
            StoreError: the wave is stored already, or what is added contradicts the store.
        """
        key = WaveKey(phase, iteration, wave)
        if self.wave_done(phase, iteration, wave):
            raise StoreError(f"{key} is in the store already: ask wave_done() before the work.")
        with transaction(self._db, self.path):
            # First, since SQLite looks for every new key among all rows that may refer to it as
            # long as any reference is open.
            self._db.execute(
                "INSERT INTO waves VALUES (?, ?, ?, ?)", (phase, iteration, wave, time.time())
            )
            made = Wave(self._db, key)
            yield made
            made.seal()

    def replace_unscored(self, episodes: Sequence[PlayedEpisode]) -> None:
        """Put episodes in the place of those with the same ids, in one transaction.

        Raises:
            StoreError: one of them is not in the store, or has scores there.
        """
        with transaction(self._db, self.path):
            for played in episodes:
                row = rows.judgement_row(played)
                changed = self._db.execute(
                    "UPDATE judgements SET judge_id = :judge_id, judge_version = :judge_version,"
                    " status = :status, scores = :scores, reasons = :reasons, details = :details"
                    " WHERE episode_id = :episode_id AND status = 'unscored'",
                    row,
                )
                if changed.rowcount != 1:
                    raise StoreError(
                        f"episode {played.id} has scores in the store, or is not there: only "
                        "unscored ones are played again."
                    )
                self._db.execute(
                    "UPDATE episodes SET players = :players, turns = :turns, end = :end,"
                    " deal = :deal WHERE id = :id",
                    rows.episode_row(played),
                )
                self._db.execute("DELETE FROM generations WHERE episode_id = ?", (played.id,))
                self._db.executemany(_ADD_GENERATION, rows.generation_rows(played))
            for key in self._waves_of(played.id for played in episodes):
                for table in ("episodes", "generations", "judgements"):
                    seal(self._db, table, key)

    def wave_done(self, phase: str, iteration: int, wave: int) -> bool:
        """Whether the wave is stored."""
        return any(row["wave"] == wave for row in self._rows("waves", phase, iteration))

    def waves(self) -> list[WaveKey]:
        """All stored waves, in the order in which they were finished."""
        found = [row for key in self._keys("waves") for row in self._rows("waves", *key)]
        found.sort(key=lambda row: row["done_at"])
        return [WaveKey(row["phase"], row["iteration"], row["wave"]) for row in found]

    def episodes(self, phase: str, iteration: int, wave: int | None = None) -> list[PlayedEpisode]:
        """The episodes of one wave; of all waves of the iteration, in order, if `wave` is None."""
        keys = self._keys_within("episodes", (phase, iteration), wave)
        return [played for key in keys for played in self._episodes(key)]

    def groups(self, iteration: int, wave: int | None = None) -> list[BranchGroup]:
        """The branch groups of one wave; of all waves of the iteration if `wave` is None."""
        keys = self._keys_within("groups", (iteration,), wave)
        found = [row for key in keys for row in self._rows("groups", *key)]
        branches: dict[str, list[tuple[str, float]]] = {}
        for row in (row for key in keys for row in self._rows("branches", *key)):
            branches.setdefault(row["group_id"], []).append((row["episode_id"], row["win_prob"]))
        episode_of = self._episodes_by_id({id for of in branches.values() for id, _ in of})
        with reading(self.path, "table groups"):
            return [
                BranchGroup(
                    id=row["id"],
                    seat=row["seat"],
                    turn=row["turn"],
                    critic=row["critic"],
                    reason=row["reason"],
                    branches=tuple(episode_of[episode_id] for episode_id, _ in branches[row["id"]]),
                    win_probs=tuple(win_prob for _, win_prob in branches[row["id"]]),
                    segment_turns=row["segment_turns"],
                    preferences=rows.parse_preferences(row["preferences"])
                    if row["preferences"]
                    else None,
                )
                for row in found
            ]

    def examples(self, iteration: int) -> list[Example]:
        """The training examples of an iteration, in the order in which they were added."""
        found = self._rows("examples", iteration)
        with reading(self.path, "table examples"):
            return [rows.parse_example(row["payload"]) for row in found]

    def drops(self) -> list[Drop]:
        """What all iterations left out, ordered by iteration, stage and reason."""
        return [Drop(*row) for key in self._keys("drops") for row in self._rows("drops", *key)]

    def set_step(self, iteration: int, name: str, payload: object) -> None:
        """Mark a step as done, with its result as JSON; replaces an earlier result."""
        text = json.dumps(payload)
        with transaction(self._db, self.path):
            self._db.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", (iteration, name, text)
            )
            seal(self._db, "steps", (name,))

    def step(self, iteration: int, name: str) -> object | None:
        """The result of a step, tuples as lists; None if the step is not done."""
        return self.results(name).get(iteration)

    def steps(self, name: str) -> list[int]:
        """The iterations in which the step is done, ascending."""
        return list(self.results(name))

    def results(self, name: str) -> dict[int, Any]:
        """The results of a step by iteration, ascending."""
        found = self._rows("steps", name)
        with reading(self.path, "table steps"):
            return {row["iteration"]: json.loads(row["payload"]) for row in found}

    def _rows(self, table: str, *key: str | int) -> list[sqlite3.Row]:
        return checked_rows(self._db, self.path, table, key)

    def _keys(self, table: str) -> list[Key]:
        return part_keys(self._db, self.path, table)

    def _keys_within(self, table: str, begin: Key, wave: int | None) -> list[Key]:
        """The key of one wave; those of all waves that begin so, in order, if `wave` is None."""
        if wave is not None:
            return [(*begin, wave)]
        return [key for key in self._keys(table) if key[:-1] == begin]

    def _episodes(self, key: Key, ids: Collection[str] | None = None) -> list[PlayedEpisode]:
        """The episodes of a wave in their order.

        Args:
            ids: which of them; None for all.
        """
        found = [r for r in self._rows("episodes", *key) if ids is None or r["id"] in ids]
        scenario_rows = {row["id"]: row for row in self._rows("scenarios", *key)}
        judgement_rows = {row["episode_id"]: row for row in self._rows("judgements", *key)}
        wanted = {row["id"] for row in found}
        generations: dict[str, dict[int, Generation]] = {}
        with reading(self.path, "table generations"):
            for row in self._rows("generations", *key):
                if (id := row["episode_id"]) in wanted:
                    generations.setdefault(id, {})[row["turn"]] = rows.generation(row)
        scenarios = [self._scenario(scenario_rows, row["scenario_id"]) for row in found]
        with reading(self.path, "tables episodes and judgements"):
            return [
                rows.played_episode(
                    dict(row) | dict(judgement_rows[row["id"]]),
                    scenario,
                    generations.get(row["id"], {}),
                )
                for row, scenario in zip(found, scenarios, strict=True)
            ]

    def _episodes_by_id(self, ids: Collection[str]) -> dict[str, PlayedEpisode]:
        with reading(self.path, "table episodes"):
            keys = self._waves_of(ids)
        found = {e.id: e for key in keys for e in self._episodes(key, ids)}
        if missing := sorted(set(ids) - set(found)):
            raise StoreError(
                f"{self.path}: table branches names {missing[0]}, but table episodes does not hold "
                f"it. {RESCUE}"
            )
        return found

    def _waves_of(self, ids: Iterable[str]) -> list[Key]:
        """Phase, iteration and number of the waves that hold these episodes."""
        found = self._db.execute(
            "SELECT DISTINCT phase, iteration, wave FROM episodes"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return [tuple(row) for row in found]

    def _scenario(self, found: Mapping[str, sqlite3.Row], scenario_id: str) -> Scenario:
        if scenario_id not in self._scenarios:
            with reading(self.path, "table scenarios"):
                row = found[scenario_id]
                scenario = rows.bare_scenario(row)
            if self._scenario_of is not None:
                scenario = self._scenario_of(scenario_id)
                _check_scenario(row, rows.scenario_row(scenario))
            self._scenarios[scenario_id] = scenario
        return self._scenarios[scenario_id]


def _scenario_row(db: sqlite3.Connection, scenario_id: str) -> sqlite3.Row:
    found = db.execute("SELECT * FROM scenarios WHERE id = ?", (scenario_id,))
    row: sqlite3.Row = found.fetchone()
    return row


def _check_scenario(row: sqlite3.Row, made: tuple[str, ...]) -> None:
    if tuple(row) != made:
        raise StoreError(
            f"scenario {row['id']} is not the one that was played under this id: its family draws "
            "it differently now. Use the release that made the run, or start a new run."
        )
