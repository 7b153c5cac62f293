"""The acts with which two seats agree on a deal: offer, accept, reject."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envs.errors import ActionError
from envs.types import ActionType, Deal, Turn

if TYPE_CHECKING:
    from envs.scenarios.task import Task


@dataclass(frozen=True, slots=True)
class Table:
    """The state of a negotiation.

    Attributes:
        standing: the offer that waits for an answer.
        offered_by: the seat that made it; None exactly when there is no standing offer.
        closed: the deal that was agreed.
    """

    standing: Deal | None = None
    offered_by: int | None = None
    closed: Deal | None = None


EMPTY_TABLE = Table()

_YES = re.compile(
    r"\b(?:i(?:'ll| will| can| do| gladly| happily)? (?:accept|agree|take (?:it|that|your offer))"
    r"|agreed|(?:it'?s|you(?:'ve| have)(?: got)?|we have(?: got)?) a deal"
    r"|that works|works for me|sounds (?:good|fair|great))\b|^(?:accept|accepted|deal)\b",
    re.IGNORECASE,
)
_NOT_YES = re.compile(
    r"\b(?:no|not|cannot|never|unless|if|before|but|what|how|would|could|will you|do you|can you)\b"
    r"|n't\b|\?",
    re.IGNORECASE,
)
"""Words that make a sentence with a yes in it a refusal, a condition or a question."""


@dataclass(frozen=True, slots=True)
class Act:
    """A parsed act: `keyword` is "offer", "accept", "reject" or, in a free act, any other word."""

    keyword: str
    rest: str


def apply_act(table: Table, task: Task, seat: int, text: str) -> Table:
    """The table after `seat` does `text`, the words of an action of type "action".

    `offer <terms>` replaces whatever stands, `accept` closes the other seat's offer, `reject`
    clears it; the keyword's case and the spaces around it do not matter. Any other text is a free
    act and leaves the table as it is (the same object).

    Raises:
        ActionError: the rules do not allow the act now, or its terms cannot be read.
    """
    act = read_act(text)
    if act.keyword == "offer":
        return Table(standing=task.parse_terms(seat, act.rest), offered_by=seat)
    if act.keyword not in ("accept", "reject"):
        return table
    if act.rest:
        raise ActionError(
            f"got {len(act.rest)} characters after {act.keyword!r}, expected the word alone: it "
            "answers the other side's offer as a whole; use 'offer <terms>' to change it."
        )
    deal = _others_offer(table, seat, act.keyword)
    return Table(closed=deal) if act.keyword == "accept" else EMPTY_TABLE


def table_after(task: Task, turns: Iterable[Turn]) -> Table:
    """The table after a transcript."""
    table = EMPTY_TABLE
    for turn in turns:
        if turn.action.type is ActionType.ACT and turn.action.invalid is None:
            table = apply_act(table, task, turn.seat, turn.action.argument)
    return table


def possible_acts(table: Table, task: Task, seat: int) -> str:
    """A regular expression of the acts that the rules allow `seat` now, free acts left out."""
    answers = "|accept|reject" if table.standing and table.offered_by != seat else ""
    return f"offer (?:{task.offer_pattern(seat)}){answers}"


def near_miss(table: Table, seat: int, speech: str) -> str | None:
    """A hint where `seat` said yes to the other's offer without the act; None where it did not.

    It is read from set phrases, sentence by sentence; a sentence with a "not", an "if" or a
    question mark is no yes.
    """
    if table.standing is None or table.offered_by == seat:
        return None
    sentences = re.split(r"(?<=[.!?;])\s+", speech.replace("\u2019", "'"))
    if not any(_YES.search(s) and not _NOT_YES.search(s) for s in sentences):
        return None
    return "you said yes, but only the act closes a deal; to close it, act accept."


def read_act(text: str) -> Act:
    """Parse the words of an act: the keyword in lower case, and what follows it."""
    words = text.split(maxsplit=1)
    keyword = words[0].rstrip(".!:").lower() if words else ""
    return Act(keyword, words[1].strip() if len(words) > 1 else "")


def _others_offer(table: Table, seat: int, keyword: str) -> Deal:
    if table.standing is None:
        raise ActionError(
            f"got {keyword!r} but no offer stands; make one with 'offer <terms>' or wait for one."
        )
    if table.offered_by == seat:
        raise ActionError(
            f"got {keyword!r} on one's own offer; only the other side can answer it, and a new "
            "'offer <terms>' replaces it."
        )
    return table.standing
