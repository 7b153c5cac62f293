"""From branch groups to training examples, kept in the store with what was dropped and why."""

from __future__ import annotations

from collections.abc import Sequence

from training.methods.pairings import pair_up
from training.methods.pairings.base import FilledPairing
from training.methods.records import BranchGroup, Example
from training.methods.values import Value
from training.storage.store import Store


def pair(
    store: Store,
    iteration: int,
    groups: Sequence[BranchGroup],
    pairing: FilledPairing,
    value: Value,
) -> list[Example]:
    """Turn groups into examples, count what is dropped, and keep both in the store."""
    examples, drops = pair_up(groups, pairing, value)
    if not store.wave_done("pair", iteration, 0):
        with store.wave("pair", iteration, 0) as transaction:
            transaction.add_examples(examples)
            transaction.add_drops("pair", drops)
    return examples
