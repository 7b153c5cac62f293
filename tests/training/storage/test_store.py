"""What goes into the store comes out equal, whole waves at a time, also after kill -9."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.types import Sampling
from envs.errors import StoreError
from envs.types import Action, ActionType, Scenario, Turn
from judges.pairwise import Preferences
from tests.training.played import group, played, scenario_of
from training.methods.records import BranchTokens, Example
from training.storage import rows
from training.storage.digests import PARTS
from training.storage.store import Drop, Store, WaveKey

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_episodes_come_back_equal(path: Path) -> None:
    first = [played(f"e{i}", n_turns=i) for i in range(1, 9)]
    second = [played("unscored", scored=False), played("e9", words="\ud83d \0 'quote'")]
    with Store(path, scenario_of) as store:
        with store.wave("collect", 1, 1) as wave:
            wave.add_episodes(second)
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes(first)
    with Store(path, scenario_of) as store:
        assert store.episodes("collect", 1, 0) == first
        assert store.episodes("collect", 1) == first + second  # by wave, not by time
        assert store.episodes("collect", 2) == store.episodes("evaluate", 1) == []
        assert store.waves() == [WaveKey("collect", 1, 1), WaveKey("collect", 1, 0)]


def test_groups_come_back_equal_and_share_the_collected_trunk(path: Path) -> None:
    trunk, other = played("trunk"), played("other")
    groups = [group("g0", trunk), group("g1", trunk, turn=1), group("g2", other)]
    with Store(path, scenario_of) as store:
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([trunk, other])
        with store.wave("branch", 1, 1) as wave:
            wave.add_groups(groups[2:])
        with store.wave("branch", 1, 0) as wave:
            wave.add_groups(groups[:2])
        assert store.groups(1) == groups
        assert store.groups(1, 1) == groups[2:]
        assert store.groups(2) == []
        assert len(store.episodes("branch", 1)) == 9  # three new ones a group, no trunk twice
        assert store.episodes("collect", 1) == [trunk, other]


def test_what_critic_and_pairwise_judge_said_comes_back_equal(path: Path) -> None:
    trunk = played("trunk")
    matrix = ((0.5, 1 / 3, None), (2 / 3, 0.5, 0.0), (None, 1.0, 0.5))
    said = Preferences("duel", "2", matrix, samples=7, flips=1)
    made = replace(group("g0", trunk, k=2), segment_turns=3, preferences=said)
    with Store(path, scenario_of) as store:
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([trunk])
        with store.wave("branch", 1, 0) as wave:
            wave.add_groups([made])
        assert store.groups(1) == [made]


def test_a_branch_that_contradicts_the_store_is_refused(path: Path) -> None:
    trunk = played("trunk")
    with Store(path, scenario_of) as store:
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([trunk])
        changed = replace(trunk, seed=trunk.seed + 1)
        with (
            pytest.raises(StoreError, match="another transcript or seed"),
            store.wave("b", 1, 0) as wave,
        ):
            wave.add_groups([group("g0", changed)])
        assert store.groups(1) == []


def test_examples_drops_and_steps(path: Path) -> None:
    trunk = played("trunk")
    pair = (BranchTokens((5, 6), (True, False), 1.0), BranchTokens((7,), (True,), 0.0))
    examples = [Example("g0", (1, 2, 3), pair), Example("g0", (), pair[:1])]
    with Store(path, scenario_of) as store:
        with store.wave("branch", 4, 0) as wave:
            wave.add_groups([group("g0", trunk)])
            wave.add_drops("pair", {"tie": 2, "near-tie": 1})
        for i, example in enumerate(examples):
            with store.wave("pair", 4, i) as wave:
                wave.add_examples([example])
                wave.add_drops("pair", {"tie": 3})
        assert store.examples(4) == examples
        assert store.drops() == [Drop(4, "pair", "near-tie", 1), Drop(4, "pair", "tie", 8)]
        assert store.step(4, "update") is None
        store.set_step(4, "update", {"loss": 0.1})
        store.set_step(4, "update", {"loss": 0.2})
        store.set_step(2, "update", [])
        assert store.step(4, "update") == {"loss": 0.2}
        assert store.steps("update") == [2, 4]


def test_a_failed_wave_leaves_nothing(path: Path) -> None:
    with Store(path, scenario_of) as store:
        with pytest.raises(RuntimeError, match="boom"):
            _fail_half_way(store)
        assert not store.wave_done("collect", 1, 0)
        assert store.episodes("collect", 1) == []
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([played("e0")])
        assert store.wave_done("collect", 1, 0)
        with pytest.raises(StoreError, match="in the store already"), store.wave("collect", 1, 0):
            pytest.fail("a finished wave was opened again")
        with pytest.raises(StoreError, match=r"episodes\.id"), store.wave("collect", 1, 1) as wave:
            wave.add_episodes([played("e0")])


def _fail_half_way(store: Store) -> None:
    with store.wave("collect", 1, 0) as wave:
        wave.add_episodes([played("e0")])
        raise RuntimeError("boom")


def test_a_branch_needs_its_parent(path: Path) -> None:
    orphan = played("b", parent=played("trunk"), branch_turn=2)
    with Store(path, scenario_of) as store:
        with pytest.raises(StoreError, match="FOREIGN KEY"), store.wave("branch", 1, 0) as wave:
            wave.add_episodes([orphan])
        assert store.episodes("branch", 1) == []


def test_one_writer_many_readers(path: Path) -> None:
    with Store(path, scenario_of) as store:
        with pytest.raises(StoreError, match=rf"written by process {os.getpid()}.*read_only"):
            Store(path)
        with Store.read_only(path, scenario_of) as reader:
            with store.wave("collect", 1, 0) as wave:
                wave.add_episodes([played("e0")])
                assert reader.episodes("collect", 1) == []  # not before the commit
            assert reader.episodes("collect", 1) == [played("e0")]
            with pytest.raises(StoreError, match="readonly"), reader.wave("collect", 1, 1):
                pass
    Store(path).close()  # the lock is free again


def test_readers_without_the_family_see_the_words(path: Path) -> None:
    with Store(path) as store, store.wave("collect", 1, 0) as wave:
        wave.add_episodes([played("e0")])
    with Store.read_only(path) as reader:
        (seen,) = reader.episodes("collect", 1)
    made = played("e0")
    assert seen.episode.scenario == replace(made.episode.scenario, task=None)
    assert seen.episode.turns == made.episode.turns


def test_a_family_that_draws_differently_is_noticed(path: Path) -> None:
    def changed(scenario_id: str) -> Scenario:
        return replace(scenario_of(scenario_id), goals=("other", "goals"))

    with Store(path) as store:
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([played("e0")])
        other = replace(played("e0").episode, scenario=changed(played("e0").episode.scenario.id))
        with pytest.raises(StoreError, match="not the one"), store.wave("collect", 1, 1) as wave:
            wave.add_episodes([replace(played("e1"), episode=other)])
    with Store.read_only(path, changed) as reader, pytest.raises(StoreError, match="not the one"):
        reader.episodes("collect", 1)


def test_other_files_are_refused(path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        Store.read_only(path)
    with pytest.raises(StoreError, match="cannot write beside"):
        Store(path.parent / "nowhere" / "store.sqlite")
    path.write_text("not a database, but long enough to have a header" * 10)
    with pytest.raises(StoreError, match="not a database"):
        Store(path)
    path.unlink()
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    for open_store in (Store, Store.read_only):
        with pytest.raises(StoreError, match="schema version 99"):
            open_store(path)


def test_stores_without_constraints_are_read_and_gone_on_with(path: Path) -> None:
    """Stores of version 2 have no column for them, and samplings without patterns."""
    old, new = played("old"), played("new")
    with Store(path, scenario_of) as store, store.wave("collect", 1, 0) as wave:
        wave.add_episodes([old])
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE generations DROP COLUMN constraint_nats")
        db.execute("UPDATE generations SET sampling = json_remove(sampling, '$.pattern')")
        db.execute("DROP TABLE digests")
        db.execute("PRAGMA user_version = 2")
    db.close()
    free = tuple(
        made and replace(made, constraint_nats=None, sampling=replace(made.sampling, pattern=None))
        for made in old.generations
    )
    expected = replace(old, generations=free)
    with Store.read_only(path, scenario_of) as store:
        assert store.episodes("collect", 1) == [expected]
    with Store(path, scenario_of) as store, store.wave("collect", 1, 1) as wave:
        wave.add_episodes([new])
    with Store.read_only(path, scenario_of) as store:
        assert store.episodes("collect", 1) == [expected, new]


def _written(path: Path) -> None:
    """A store with rows in every table."""
    trunk = played("trunk")
    pair = (BranchTokens((5, 6), (True, False), 1.0), BranchTokens((7,), (True,), 0.0))
    with Store(path, scenario_of) as store:
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([trunk, played("other")])
        with store.wave("branch", 1, 0) as wave:
            wave.add_groups([group("g0", trunk)])
            wave.add_drops("branch", {"tie": 2})
        with store.wave("pair", 1, 0) as wave:
            wave.add_examples([Example("g0", (1, 2, 3), pair)])
        store.set_step(1, "update", {"loss": 0.5})


def _all_of(path: Path) -> object:
    """Everything that a store says, without the tasks."""
    with Store.read_only(path) as store:
        return (
            store.waves(),
            [store.episodes(phase, 1) for phase in ("collect", "branch")],
            store.groups(1),
            store.examples(1),
            store.drops(),
            store.results("update"),
        )


def test_a_bit_that_flips_on_the_disk_is_never_read_in_silence(path: Path) -> None:
    _written(path)
    intact, whole = path.read_bytes(), _all_of(path)
    used = [place for place, byte in enumerate(intact) if byte]
    rng, noticed = random.Random(0), 0
    for place in rng.sample(used, 50):
        damaged = bytearray(intact)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = _all_of(path)
        except StoreError:
            noticed += 1
        else:
            assert found == whole, "in an index or a comment, which nobody asked for"
    assert noticed > 25


_CHANGES = {
    "episodes": "UPDATE episodes SET seed = seed || '0' WHERE id = 'other'",
    "generations": "UPDATE generations SET token_ids = zeroblob(length(token_ids))",
    "judgements": "UPDATE judgements SET judge_id = 'other'",
    "scenarios": "UPDATE scenarios SET split = 'dev'",
    "groups": "UPDATE groups SET turn = turn + 1",
    "branches": "UPDATE branches SET win_prob = 1 - win_prob",
    "examples": "UPDATE examples SET payload = replace(payload, '3', '4')",
    "drops": "DELETE FROM drops",
    "steps": "UPDATE steps SET payload = '{}'",
    "waves": "DELETE FROM waves WHERE phase = 'pair'",
}


def test_every_table_has_digests(path: Path) -> None:
    _written(path)
    with sqlite3.connect(path) as db:
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
        sealed = {part for (part,) in db.execute("SELECT DISTINCT part FROM digests")}
    db.close()
    assert tables - {"digests"} == sealed == set(PARTS) == set(_CHANGES)


@pytest.mark.parametrize("table", _CHANGES)
def test_rows_that_are_not_what_was_written_are_named(path: Path, table: str) -> None:
    _written(path)
    with sqlite3.connect(path) as db:
        db.execute(_CHANGES[table])
    db.close()
    with pytest.raises(StoreError, match=rf"store\.sqlite: table {table} \(.* is damaged"):
        _all_of(path)


def test_what_sqlite_or_a_parser_says_becomes_a_sentence(path: Path) -> None:
    _written(path)
    with sqlite3.connect(path) as db:  # a store of a release without digests
        db.execute("DROP TABLE digests")
        db.execute("UPDATE examples SET payload = '{'")
        db.execute("UPDATE judgements SET scores = CAST(x'ff' AS TEXT)")
        db.execute("PRAGMA user_version = 3")
    db.close()
    with Store.read_only(path) as store:
        assert not store.has_digests
        assert store.step(1, "update") == {"loss": 0.5}
        with pytest.raises(StoreError, match=r"store\.sqlite: table examples cannot be read"):
            store.examples(1)
        with pytest.raises(StoreError, match=r"store\.sqlite: table judgements .*cannot be read"):
            store.episodes("collect", 1)


def test_a_store_without_digests_gets_them_when_it_is_gone_on_with(path: Path) -> None:
    _written(path)
    before = _all_of(path)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE digests")
        db.execute("PRAGMA user_version = 3")
    db.close()
    with Store(path) as store:
        assert store.has_digests
    assert _all_of(path) == before
    with sqlite3.connect(path) as db:
        db.execute(_CHANGES["generations"])
    db.close()
    with pytest.raises(StoreError, match=r"table generations .*is damaged"):
        _all_of(path)


def test_a_sampling_without_a_pattern_is_stored_as_ever() -> None:
    assert rows._sampling_text(Sampling(0.7, 9, ((3, -1.5),))) == (
        '{"temperature": 0.7, "max_new_tokens": 9, "logit_bias": [[3, -1.5]]}'
    )


@given(st.lists(st.floats(allow_nan=False)), st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_numbers_are_kept_bit_for_bit(logps: list[float], ids: list[int]) -> None:
    assert rows.unpack_logps(rows.pack_logps(logps)) == tuple(logps)
    assert rows.unpack_ids(rows.pack_ids(ids)) == tuple(ids)


@given(st.sampled_from(ActionType), st.text(), st.none() | st.text())
def test_turns_are_kept(kind: ActionType, words: str, invalid: str | None) -> None:
    turns = (Turn(7, 1, Action(kind, words, invalid)),)
    assert rows.parse_turns(rows.turns_text(turns)) == turns


def test_inserts_are_quick(path: Path) -> None:
    episodes = [played(f"e{i}", n_turns=8) for i in range(500)]
    with Store(path, scenario_of) as store:
        start = time.process_time()
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes(episodes)
        spent_s = time.process_time() - start
    assert 500 / spent_s > 1000  # 2,000 or more on an idle core; half of it where cores are shared


_WRITER = """
import sys
from judges.pairwise import Preferences
from tests.training.played import group, played, scenario_of
from training.storage.store import Store

with Store(sys.argv[1], scenario_of) as store:
    wave = 0
    while store.wave_done("collect", 1, wave):
        wave += 1
    while True:
        with store.wave("collect", 1, wave) as w:
            trunks = [played(f"w{wave}.{i}") for i in range(20)]
            w.add_episodes(trunks)
            w.add_groups([group(f"g{wave}", trunks[0])])
            w.add_drops("collect", {"unscored": 1})
        print(wave, flush=True)
        wave += 1
"""


def test_kill_9_loses_no_acknowledged_wave_and_shows_no_half(path: Path) -> None:
    rng = random.Random(0)
    acknowledged = -1
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout as lines:
            for _ in range(rng.randint(1, 4)):
                acknowledged = int(lines.readline())
            time.sleep(rng.random() / 50)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            for line in lines:  # what it said before it died counts too
                acknowledged = int(line)
        with Store(path, scenario_of) as store:
            done = [key.wave for key in store.waves()]
            assert done == list(range(len(done)))
            assert len(done) in (acknowledged + 1, acknowledged + 2)  # committed, not yet said
            for wave in done:
                trunks = [played(f"w{wave}.{i}") for i in range(20)]
                (kept,) = store.groups(1, wave)
                assert kept == group(f"g{wave}", trunks[0])
                assert store.episodes("collect", 1, wave) == [*trunks, *kept.branches[1:]]
            assert len(store.episodes("collect", 1)) == 23 * len(done)
            assert store.drops() == [Drop(1, "collect", "unscored", len(done))]


def test_an_unscored_episode_is_replaced_in_its_place(path: Path) -> None:
    failed, good = played("b", scored=False), played("a")
    again = replace(played("b", n_turns=1, words="again"), seed=failed.seed)
    with Store(path, scenario_of) as store:
        with store.wave("collect", 1, 0) as wave:
            wave.add_episodes([failed, good])
        store.replace_unscored([again])
        assert store.episodes("collect", 1) == [again, good]
        for scored in ([again], [good], [played("c")]):
            with pytest.raises(StoreError, match="only unscored ones are played again"):
                store.replace_unscored(scored)
        assert store.episodes("collect", 1) == [again, good]
