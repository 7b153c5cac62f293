"""The acts with which two seats agree on a deal: offer, accept, reject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envs.errors import ActionError
from envs.types import Deal

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
