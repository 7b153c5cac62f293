"""Episodes and branch groups as a reader wants them: names, words, what was private, the scores."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from envs.types import Action, ActionType, Turn
from judges.base import DIMENSION_RANGES
from judges.critics.base import own_turns
from training.methods.pairings.base import branch_tokens
from training.methods.records import BranchGroup, BranchTokens, Example, PlayedEpisode

_VERBS = {
    ActionType.SPEAK: "",
    ActionType.NON_VERBAL: "gestures",
    ActionType.ACT: "does",
    ActionType.LEAVE: "leaves",
    ActionType.NONE: "does nothing",
}


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn; `verb` is empty for speech. `has_loss`: its words are learned from."""

    index: int
    seat: int
    name: str
    verb: str
    words: str
    invalid: str | None
    has_loss: bool = False


@dataclass(frozen=True, slots=True)
class SeatView:
    """One seat's private side and what it came to; `scores` is empty when unscored."""

    name: str
    player: str
    goal: str
    scores: tuple[tuple[str, str], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class TranscriptView:
    """A whole episode."""

    id: str
    family: str
    context: str
    seats: tuple[SeatView, ...]
    turns: tuple[TurnView, ...]
    end: str
    unscored: str | None

    @property
    def goals(self) -> str:
        """The goal scores in seat order, or that there are none."""
        if self.unscored is not None:
            return "unscored"
        return " and ".join(f"{seat.name} {dict(seat.scores)['goal']}" for seat in self.seats)


@dataclass(frozen=True, slots=True)
class BranchView:
    """One continuation; `turns` begin at the branch turn."""

    label: str
    win_prob: float
    transcript: TranscriptView
    turns: tuple[TurnView, ...]


@dataclass(frozen=True, slots=True)
class GroupView:
    """The shared trunk with two of its continuations; `name` is whose turn was played again."""

    id: str
    family: str
    name: str
    turn: int
    critic: str
    reason: str
    n_branches: int
    trunk: tuple[TurnView, ...]
    sides: tuple[BranchView, BranchView]


def view_episode(played: PlayedEpisode) -> TranscriptView:
    """Everything of an episode that a page shows."""
    scenario = played.episode.scenario
    judgement = played.judgement
    scored = judgement.is_scored
    seats = tuple(
        SeatView(
            name=profile.name,
            player=played.players[seat],
            goal=scenario.goals[seat],
            scores=_scores(played, seat),
            reason=judgement.reasons[seat] if scored and seat < len(judgement.reasons) else "",
        )
        for seat, profile in enumerate(scenario.profiles)
    )
    return TranscriptView(
        id=played.id,
        family=scenario.family,
        context=scenario.context,
        seats=seats,
        turns=tuple(_view_turn(played, turn) for turn in played.episode.turns),
        end=played.episode.end.value,
        unscored=None if scored else "; ".join(judgement.reasons) or "no reason given",
    )


def view_group(group: BranchGroup) -> GroupView:
    """The best branch beside the worst by win probability; the first of equals."""
    order = sorted(range(len(group.branches)), key=lambda k: -group.win_probs[k])
    best, worst = order[0], order[-1]
    return _grouped(group, (_view_branch(group, best, "best"), _view_branch(group, worst, "worst")))


def view_pair(group: BranchGroup, example: Example) -> GroupView:
    """The two sides that were trained on, or of more branches the best and the worst.

    Where no branch was learned from as the worse one, the original stands there.
    """
    ordered = sorted(example.branches, key=lambda side: -side.win_prob)
    labels = ("chosen", "rejected") if len(ordered) == 2 else ("best", "worst")
    (best, best_turns), (worst, worst_turns) = (
        _trained(group, side) for side in (ordered[0], ordered[-1])
    )
    if ordered[-1].win_prob == 1:
        labels, worst, worst_turns = ("chosen", "beside it"), 0, ()
    sides = (
        _view_branch(group, best, labels[0], best_turns),
        _view_branch(group, worst, labels[1], worst_turns),
    )
    return _grouped(group, sides)


def _grouped(group: BranchGroup, sides: tuple[BranchView, BranchView]) -> GroupView:
    original = group.branches[0]
    names = _short_names(original)
    return GroupView(
        id=group.id,
        family=original.episode.scenario.family,
        name=names[group.seat],
        turn=group.turn,
        critic=group.critic,
        reason=re.sub(r"\bseat (\d)", lambda found: names[int(found[1])], group.reason),
        n_branches=len(group.branches),
        trunk=view_episode(original).turns[: group.turn],
        sides=sides,
    )


def _trained(group: BranchGroup, side: BranchTokens) -> tuple[int, tuple[int, ...]]:
    """Which branch of the group a side of an example is, and the turns of it that carry loss."""
    for k, played in enumerate(group.branches):
        own = [t for t in own_turns(played.episode, group.seat) if t >= group.turn]
        for turns in range(1, len(own) + 1):
            if branch_tokens(played, group, turns, side.win_prob) == side:
                return k, tuple(own[:turns])
    return 0, ()  # a pairing that cuts branches in another way; nothing to point at


def _view_branch(
    group: BranchGroup, k: int, label: str, has_loss: tuple[int, ...] = ()
) -> BranchView:
    transcript = view_episode(group.branches[k])
    origin = "the original" if k == 0 else f"continuation {k}"
    turns = transcript.turns[group.turn :]
    return BranchView(
        f"{label}: {origin}",
        group.win_probs[k],
        transcript,
        tuple(replace(turn, has_loss=turn.index in has_loss) for turn in turns),
    )


def _short_names(played: PlayedEpisode) -> tuple[str, ...]:
    """First names, where they tell the seats apart."""
    profiles = played.episode.scenario.profiles
    first = tuple(profile.first_name for profile in profiles)
    return first if len(set(first)) == len(first) else tuple(p.name for p in profiles)


def _view_turn(played: PlayedEpisode, turn: Turn) -> TurnView:
    verb, words = _told(turn.action)
    return TurnView(
        index=turn.index,
        seat=turn.seat,
        name=_short_names(played)[turn.seat],
        verb=verb,
        words=words,
        invalid=turn.action.invalid,
    )


def _told(action: Action) -> tuple[str, str]:
    """A verb and the words with it: `offer you book=1 hat=3` as offers, you book 1, hat 3."""
    words = action.argument
    if action.type is not ActionType.ACT:
        return _VERBS[action.type], words
    act, _, terms = words.partition(" ")
    if act in ("accept", "reject") and not terms:
        return f"{act}s", ""
    if act == "offer" and terms:
        return "offers", re.sub(r"(\w+)=(\d+)(?= \w+=)", r"\1 \2,", terms).replace("=", " ")
    return _VERBS[action.type], words


def _scores(played: PlayedEpisode, seat: int) -> tuple[tuple[str, str], ...]:
    if not played.judgement.is_scored:
        return ()
    scores = played.judgement.scores[seat]
    return tuple((name, f"{getattr(scores, name):.1f}") for name in DIMENSION_RANGES)
