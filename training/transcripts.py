"""Episodes and branch groups as a reader wants them: names, words, what was private, the scores."""

from __future__ import annotations

from dataclasses import dataclass

from envs.types import ActionType, Turn
from judges.base import DIMENSION_RANGES
from training.records import BranchGroup, PlayedEpisode

_VERBS = {
    ActionType.SPEAK: "",
    ActionType.NON_VERBAL: "gestures",
    ActionType.ACT: "does",
    ActionType.LEAVE: "leaves",
    ActionType.NONE: "does nothing",
}


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn; `verb` is empty for speech."""

    index: int
    seat: int
    name: str
    verb: str
    words: str
    invalid: str | None


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
    """The shared trunk with its best and its worst continuation."""

    id: str
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
    original = view_episode(group.branches[0])
    return GroupView(
        id=group.id,
        name=original.seats[group.seat].name,
        turn=group.turn,
        critic=group.critic,
        reason=group.reason,
        n_branches=len(group.branches),
        trunk=original.turns[: group.turn],
        sides=(_view_branch(group, best, "chosen"), _view_branch(group, worst, "rejected")),
    )


def _view_branch(group: BranchGroup, k: int, label: str) -> BranchView:
    transcript = view_episode(group.branches[k])
    origin = "the original" if k == 0 else f"continuation {k}"
    return BranchView(
        f"{label}: {origin}", group.win_probs[k], transcript, transcript.turns[group.turn :]
    )


def _view_turn(played: PlayedEpisode, turn: Turn) -> TurnView:
    return TurnView(
        index=turn.index,
        seat=turn.seat,
        name=played.episode.scenario.profiles[turn.seat].name,
        verb=_VERBS[turn.action.type],
        words=turn.action.argument,
        invalid=turn.action.invalid,
    )


def _scores(played: PlayedEpisode, seat: int) -> tuple[tuple[str, str], ...]:
    if not played.judgement.is_scored:
        return ()
    scores = played.judgement.scores[seat]
    return tuple((name, f"{getattr(scores, name):.1f}") for name in DIMENSION_RANGES)
