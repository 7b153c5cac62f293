"""What each seat did in an episode, counted: the facts that the verifiable judge's rules weigh."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise, zip_longest

from envs.bargaining import EMPTY_TABLE, Table, apply_act
from envs.errors import ActionError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Deal, Turn

_VISIBLE = (ActionType.SPEAK, ActionType.NON_VERBAL, ActionType.ACT)


@dataclass(frozen=True, slots=True)
class Conduct:
    """One seat's behaviour in one episode, in counts.

    Attributes:
        invalid_actions: replies that could not be carried out.
        repetitions: own words, gestures or acts that repeat an earlier own turn letter by letter,
            but for case and spaces; a plain accept or reject is not counted.
        leaks: own turns that give away what the goal asks to keep.
        bare_rejections: own rejections that are not followed by an own offer or acceptance before
            the next own rejection or the end.
        withdrawn_offers: own offers that stood unanswered and were replaced by one that is worse
            for the partner.
        own_terms_refused: rejections of terms that the seat had itself offered before.
        left: whether the seat left.
        left_abruptly: whether it left while the partner's offer stood unanswered, or without
            having made a single offer.
        offers_heard: distinct deals that the partner offered.
        statements_heard: distinct things that the partner said.
    """

    invalid_actions: int
    repetitions: int
    leaks: int
    bare_rejections: int
    withdrawn_offers: int
    own_terms_refused: int
    left: bool
    left_abruptly: bool
    offers_heard: int
    statements_heard: int


class ActKind(StrEnum):
    """The structured acts."""

    OFFER = "offer"
    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Act:
    """A structured act that counted: `deal` was offered, accepted or rejected by `seat`."""

    turn: int
    seat: int
    kind: ActKind
    deal: Deal


def read_acts(task: Task, turns: tuple[Turn, ...]) -> tuple[Act, ...]:
    """The structured acts of a transcript, read turn by turn; what the rules forbid is left out."""
    acts: list[Act] = []
    table = EMPTY_TABLE
    for turn in turns:
        if turn.action.type is not ActionType.ACT:
            continue
        before = table
        try:
            table = apply_act(before, task, turn.seat, turn.action.argument)
        except ActionError:  # in a transcript from elsewhere; in play it is an invalid action
            continue
        if table is not before:
            acts.append(_act(turn, before, table))
    return tuple(acts)


def read_conduct(task: Task, turns: tuple[Turn, ...], seat: int) -> Conduct:
    """Count what `seat` did, and what it heard."""
    acts = read_acts(task, turns)
    own = [turn.action for turn in turns if turn.seat == seat]
    answers = {act.turn for act in acts if act.kind is not ActKind.OFFER}
    repeatable = [turn.action for turn in turns if turn.seat == seat and turn.index not in answers]
    left = any(action.type is ActionType.LEAVE for action in own)
    return Conduct(
        invalid_actions=sum(action.invalid is not None for action in own),
        repetitions=_repetitions(repeatable),
        leaks=sum(task.leaks(seat, action.text) for action in own),
        bare_rejections=_bare_rejections(acts, seat),
        withdrawn_offers=_withdrawn_offers(task, acts, seat),
        own_terms_refused=_own_terms_refused(acts, seat),
        left=left,
        left_abruptly=left and _leaves_things_open(acts, seat),
        offers_heard=len({act.deal for act in acts if _is_offer(act) and act.seat != seat}),
        statements_heard=_statements([turn.action for turn in turns if turn.seat != seat]),
    )


def _act(turn: Turn, before: Table, after: Table) -> Act:
    if after.closed is not None:
        return Act(turn.index, turn.seat, ActKind.ACCEPT, after.closed)
    if after.standing is not None:
        return Act(turn.index, turn.seat, ActKind.OFFER, after.standing)
    assert before.standing is not None  # only a standing offer can be rejected
    return Act(turn.index, turn.seat, ActKind.REJECT, before.standing)


def _is_offer(act: Act) -> bool:
    return act.kind is ActKind.OFFER


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _repetitions(actions: list[Action]) -> int:
    shown = [
        (action.type, _plain(action.argument), _plain(action.words))
        for action in actions
        if action.type in _VISIBLE
    ]
    return len(shown) - len(set(shown))


def _statements(actions: list[Action]) -> int:
    return len({_plain(action.speech) for action in actions if action.speech})


def _bare_rejections(acts: tuple[Act, ...], seat: int) -> int:
    own = [act.kind for act in acts if act.seat == seat]
    bare = (None, ActKind.REJECT)  # None: nothing follows
    return sum(now is ActKind.REJECT and then in bare for now, then in zip_longest(own, own[1:]))


def _withdrawn_offers(task: Task, acts: tuple[Act, ...], seat: int) -> int:
    """Neighbours in `acts`: had the partner answered, its answer would lie between the two."""
    return sum(
        _is_offer(first)
        and _is_offer(second)
        and first.seat == second.seat == seat
        and task.utility(1 - seat, second.deal) < task.utility(1 - seat, first.deal)
        for first, second in pairwise(acts)
    )


def _own_terms_refused(acts: tuple[Act, ...], seat: int) -> int:
    offered: set[Deal] = set()
    refused = 0
    for act in acts:
        if act.seat != seat:
            continue
        if _is_offer(act):
            offered.add(act.deal)
        elif act.kind is ActKind.REJECT and act.deal in offered:
            refused += 1
    return refused


def _leaves_things_open(acts: tuple[Act, ...], seat: int) -> bool:
    never_tried = not any(_is_offer(act) and act.seat == seat for act in acts)
    unanswered = bool(acts) and _is_offer(acts[-1]) and acts[-1].seat != seat
    return never_tried or unanswered
