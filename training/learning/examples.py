"""From branch groups to training examples, kept in the store with what was dropped and why."""

from __future__ import annotations

from collections.abc import Sequence

from training.learning.packing import columns
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
    token_budget: int,
) -> list[Example]:
    """Turn groups into examples, count what is dropped, and keep both in the store.

    Args:
        token_budget: an example that takes more tokens is dropped, as no pass would hold it.
    """
    made, drops = pair_up(groups, pairing, value)
    examples = [example for example in made if columns(example) <= token_budget]
    if len(examples) < len(made):
        drops[f"longer than update.token_budget={token_budget}"] += len(made) - len(examples)
    if not store.wave_done("pair", iteration, 0):
        with store.wave("pair", iteration, 0) as transaction:
            transaction.add_examples(examples)
            transaction.add_drops("pair", drops)
    return examples
