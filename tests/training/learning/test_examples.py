"""From groups to examples: what no pass would hold is left out and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.training.played import group, played, scenario_of
from training.learning.examples import pair
from training.methods.pairings.base import Unpaired
from training.methods.records import BranchGroup, BranchTokens, Example
from training.methods.values import goal
from training.storage.store import Drop, Store


def pairing(made: BranchGroup, values: Sequence[float]) -> Example | Unpaired:
    """Three tokens after a trunk: 4 tokens or, in the group that is called so, 40."""
    trunk = (1,) * (40 if made.id == "long" else 4)
    return Example(made.id, trunk, (BranchTokens((5, 6, 7), (True,) * 3, 1.0),))


def test_a_group_that_no_pass_would_hold_ends_no_run(tmp_path: Path) -> None:
    trunk = played("trunk")
    groups = [group("short", trunk), group("long", trunk)]
    with Store(tmp_path / "store.sqlite", scenario_of) as store:
        with store.wave("branch", 1, 0) as wave:
            wave.add_groups(groups)
        found = pair(store, 1, groups, pairing, goal, 20)
        assert [example.group_id for example in found] == ["short"]
        assert store.examples(1) == found
        assert store.drops() == [Drop(1, "pair", "longer than update.token_budget=20", 1)]
        assert pair(store, 1, groups, pairing, goal, 20) == found
        # A trunk of 40 and the first two tokens: the last one is predicted and not read.
        assert len(pair(store, 1, groups, pairing, goal, 42)) == 2
