"""The rules of an episode as a state machine: who acts next, what happened, how it ended."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from envs.bargaining import EMPTY_TABLE, Table, apply_act, near_miss
from envs.errors import ActionError, ConfigError, DataError, EpisodeOverError, OutOfTurnError
from envs.types import (
    Action,
    ActionType,
    EndReason,
    Episode,
    Observation,
    Profile,
    Relationship,
    Scenario,
    Turn,
    View,
)


class Order(StrEnum):
    """SOTOPIA's three orders of turns."""

    ROUND_ROBIN = "round-robin"
    SIMULTANEOUS = "simultaneous"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Rules:
    """How long an episode lasts and who acts when.

    Attributes:
        max_turns: most turns of the whole transcript, all seats together. Simultaneous rounds are
            never cut: a remainder smaller than a round is not played.
        max_stale: the episode ends after more than that many consecutive actions of type NONE.
        recorded: the seat of every turn, for recorded dialogues in no regular order; it replaces
            `order`, and `max_turns` must be its length.
    """

    max_turns: int = 20
    max_stale: int = 2
    order: Order = Order.ROUND_ROBIN
    recorded: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.recorded and len(self.recorded) != self.max_turns:
            raise ConfigError(
                f"got max_turns={self.max_turns} and a recorded order of {len(self.recorded)} "
                "turns; expected the same number."
            )
        if self.max_turns < 1 or self.max_stale < 0:
            raise ConfigError(
                f"got max_turns={self.max_turns} and max_stale={self.max_stale}; expected at "
                "least 1 and at least 0."
            )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The complete state of an episode, from which `restore` goes on exactly."""

    scenario: Scenario
    rules: Rules
    seed: int
    turns: tuple[Turn, ...]
    table: Table
    stale: int
    end: EndReason | None


class SocialState:
    """An episode under way.

    Args:
        seed: the source of the random order; the other orders ignore it.
    """

    __slots__ = (
        "_rounds",
        "_stale",
        "_views",
        "end",
        "rules",
        "scenario",
        "seed",
        "table",
        "turns",
    )

    def __init__(self, scenario: Scenario, rules: Rules | None = None, seed: int = 0) -> None:
        seats = _checked_seats(scenario)
        self.scenario = scenario
        self.rules = rules if rules is not None else Rules()
        self.seed = seed
        self.turns: tuple[Turn, ...] = ()
        self.table: Table = EMPTY_TABLE
        self.end: EndReason | None = None
        self._stale = 0
        self._rounds = _schedule(self.rules, seats, seed)
        self._views: list[View | None] = [None] * seats

    @property
    def to_act(self) -> tuple[int, ...]:
        """The seats that must act now, in seat order; none when the episode is over."""
        if self.end is not None:
            return ()
        return self._rounds[len(self.turns) // len(self._rounds[0])]

    @property
    def turns_left(self) -> int:
        """The number of turns until the limit, all seats together."""
        if self.end is not None:
            return 0
        return len(self._rounds) * len(self._rounds[0]) - len(self.turns)

    def step(self, actions: Mapping[int, Action]) -> None:
        """Carry out one action of each seat that is to act.

        Args:
            actions: one action for each seat of `to_act`. An act that the rules reject is recorded
                as doing nothing, or as the words that came with it, with the reason.

        Raises:
            OutOfTurnError: other seats than those of `to_act`.
            EpisodeOverError: the episode has ended.
        """
        seats = self.to_act
        if len(actions) != len(seats) or any(seat not in actions for seat in seats):
            raise _wrong_seats(self, tuple(actions))
        if not seats:
            raise EpisodeOverError(
                f"step() after the end ({self.end}); restore a snapshot or start a new episode."
            )
        before = self.table
        for seat in seats:
            action, table = self._apply(before, seat, actions[seat])
            if _precedence(before, table) >= _precedence(before, self.table):
                self.table = table
            self._stale = self._stale + 1 if action.type is ActionType.NONE else 0
            self.turns += (Turn(len(self.turns), seat, action),)
        self.end = self._end_reason(len(seats))

    def _apply(self, table: Table, seat: int, action: Action) -> tuple[Action, Table]:
        # On the table as it was before the round: nobody can accept an offer that it has not seen.
        if self.scenario.task is None:
            return action, table
        if action.type is ActionType.SPEAK:
            hint = near_miss(table, seat, action.argument)
            return (action if hint is None else replace(action, near_miss=hint)), table
        if action.type is not ActionType.ACT:
            return action, table
        try:
            return action, apply_act(table, self.scenario.task, seat, action.argument)
        except ActionError as error:
            said = ActionType.SPEAK if action.words else ActionType.NONE
            return Action(said, action.words, invalid=str(error)), table

    def _end_reason(self, seats_acted: int) -> EndReason | None:
        if self.table.closed is not None:
            return EndReason.DEAL
        if any(turn.action.type is ActionType.LEAVE for turn in self.turns[-seats_acted:]):
            return EndReason.LEFT
        if self._stale > self.rules.max_stale:
            return EndReason.STALE
        return None if self.turns_left else EndReason.TURN_LIMIT

    def observe(self, seat: int) -> Observation:
        """What `seat` sees now, whether or not it is to act."""
        view = self._views[seat]
        if view is None:
            view = self._views[seat] = view_of(self.scenario, seat)
        return Observation(view, self.turns, self.turns_left)

    def episode(self) -> Episode:
        """The finished episode.

        Raises:
            ActionError: the episode still goes on.
        """
        if self.end is None:
            raise ActionError(
                f"episode() after {len(self.turns)} turns of a dialogue that still goes on; "
                "step until `end` is set, or take a snapshot()."
            )
        return Episode(self.scenario, self.turns, self.end, self.table.closed)

    def abandon(self) -> Episode:
        """End the episode as failed and without a deal, because one of its players cannot go on."""
        return Episode(self.scenario, self.turns, EndReason.FAILED, None)

    def snapshot(self) -> Snapshot:
        """A copy of the state, from which `restore` can go on any number of times."""
        return Snapshot(
            self.scenario, self.rules, self.seed, self.turns, self.table, self._stale, self.end
        )

    @classmethod
    def restore(cls, snapshot: Snapshot) -> SocialState:
        """A new state that goes on exactly where the snapshot was taken."""
        state = cls(snapshot.scenario, snapshot.rules, snapshot.seed)
        state.turns = snapshot.turns
        state.table = snapshot.table
        state.end = snapshot.end
        state._stale = snapshot.stale
        return state


def replay(scenario: Scenario, rules: Rules, turns: Iterable[Turn], seed: int = 0) -> SocialState:
    """The state after `turns`, which must follow the order of `rules` in whole rounds.

    Raises:
        OutOfTurnError: a turn is not by the seat that was to act.
        EpisodeOverError: there are turns after the end.
    """
    state = SocialState(scenario, rules, seed)
    waiting: dict[int, Action] = {}
    for turn in turns:
        waiting[turn.seat] = turn.action
        if len(waiting) >= len(state.to_act):
            state.step(waiting)
            waiting = {}
    if waiting:
        raise _wrong_seats(state, tuple(waiting))
    return state


def view_of(scenario: Scenario, seat: int) -> View:
    """What `seat` may know of the scenario: SOTOPIA's visibility rules."""
    others = (profile for other, profile in enumerate(scenario.profiles) if other != seat)
    return View(
        seat=seat,
        context=scenario.context,
        goal=scenario.goals[seat],
        brief=scenario.briefs[seat],
        profile=scenario.profiles[seat],
        partners=tuple(_known(profile, scenario.relationship) for profile in others),
        relationship=scenario.relationship,
        verifiable=scenario.task is not None,
    )


def _known(profile: Profile, relationship: Relationship) -> Profile | None:
    if relationship >= Relationship.FRIEND:
        return replace(profile, secret="")
    if relationship == Relationship.STRANGER:
        return None
    name = Profile(profile.first_name, profile.last_name)
    if relationship == Relationship.KNOW_BY_NAME:
        return name
    return replace(
        name,
        age=profile.age,
        occupation=profile.occupation,
        gender=profile.gender,
        pronoun=profile.pronoun,
        public_info=profile.public_info,
    )


def _schedule(rules: Rules, seats: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """The seats that act in each round, drawn in advance so that a snapshot needs no generator."""
    if rules.recorded:
        if not 0 <= min(rules.recorded) <= max(rules.recorded) < seats:
            raise ConfigError(
                f"got a recorded order of the seats {sorted(set(rules.recorded))}, expected seats "
                f"from 0 to {seats - 1}."
            )
        return tuple((seat,) for seat in rules.recorded)
    if rules.order is Order.SIMULTANEOUS:
        if rules.max_turns < seats:
            raise ConfigError(
                f"got max_turns={rules.max_turns} for {seats} simultaneous seats; expected at "
                "least one turn each."
            )
        return (tuple(range(seats)),) * (rules.max_turns // seats)
    if rules.order is Order.RANDOM:
        generator = random.Random(seed)
        return tuple((generator.randrange(seats),) for _ in range(rules.max_turns))
    return tuple((turn % seats,) for turn in range(rules.max_turns))


def _precedence(before: Table, after: Table) -> int:
    """Which act prevails in a simultaneous round: a closed deal, a new offer, a rejection, none."""
    if after is before:
        return 0
    if after.closed is not None:
        return 3
    return 2 if after.standing is not None else 1


def _checked_seats(scenario: Scenario) -> int:
    seats = len(scenario.goals)
    if seats < 2 or len(scenario.briefs) != seats or len(scenario.profiles) != seats:
        raise DataError(
            f"scenario {scenario.id!r} has {seats} goals, {len(scenario.briefs)} briefs and "
            f"{len(scenario.profiles)} profiles; expected one of each for two or more seats."
        )
    if scenario.task is not None and seats != 2:
        raise DataError(
            f"scenario {scenario.id!r} has a verifiable task and {seats} seats; expected 2 seats "
            "or no task."
        )
    return seats


def _wrong_seats(state: SocialState, got: tuple[int, ...]) -> OutOfTurnError | EpisodeOverError:
    if state.end is not None:
        return EpisodeOverError(
            f"step() by {_names(got)} after the end ({state.end}); restore a snapshot or start a "
            "new episode."
        )
    return OutOfTurnError(
        f"step() by {_names(got)} but it is {_names(state.to_act)}'s turn "
        f"(turn {len(state.turns) + 1} of {len(state.turns) + state.turns_left})"
    )


def _names(seats: tuple[int, ...]) -> str:
    return " and ".join(f"agent_{seat}" for seat in seats) or "nobody"
