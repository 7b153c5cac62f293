"""Plans how prompts are encoded: shared beginnings once, prompts of like length side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_ALIKE = 0.75
"""Of prompts with new parts of like length the shortest is at least this share of the longest."""

SHORTEST_SHARED = 128
"""A beginning of prompts with fewer tokens is not looked for."""


def shared_prefixes(
    prompts: Iterable[tuple[int, ...]], shortest: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """What several prompts begin with, as continuations of one history do.

    Args:
        shortest: a beginning that is shorter does not count.

    Yields:
        A beginning and how many of the prompts have it, at least two. No prompt has two of them,
        and none is a whole prompt, of which the last token is to be encoded anyway.
    """
    group: list[tuple[int, ...]] = []
    length = 0
    for prompt in [*sorted(set(prompts)), ()]:
        both = min(length or len(prompt), _agreement(group[-1], prompt)) if group else 0
        if both < shortest:
            if len(group) > 1:
                yield group[0][:length], len(group)
            group, length = [prompt], 0
        else:
            group.append(prompt)
            length = both


def _agreement(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """How many tokens two prompts have in common at their start, the last of each left out."""
    most = min(len(first), len(second)) - 1
    return next((n for n in range(most) if first[n] != second[n]), most)


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbours in a descending list of lengths that are alike; `width` is the greatest."""

    rows: int
    width: int


def alike(lengths: list[int]) -> Iterator[Part]:
    """Cut a descending list of lengths into parts in which they are alike."""
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or lengths[end] < _ALIKE * lengths[start]:
            yield Part(end - start, lengths[start])
            start = end


def best_ahead(lengths: list[int]) -> tuple[int, int]:
    """How many of the longest to encode ahead, in parts, and the columns that this saves.

    Args:
        lengths: new tokens of each prompt, descending. Those ahead have one left afterwards.
    """
    parts = list(alike(lengths))
    widths = [*(part.width for part in parts[1:]), 1]
    best, saved, ahead, columns = 0, 0, 0, 0
    for part, width_after in zip(parts, widths, strict=True):
        ahead += part.rows
        columns += part.rows * part.width
        if (gain := len(lengths) * (lengths[0] - width_after) - columns) > saved:
            best, saved = ahead, gain
    return best, saved
