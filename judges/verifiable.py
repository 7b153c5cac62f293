"""The judge that computes: all seven dimensions by stated rules, without a model.

Goal, material benefits and secret are facts of the task. The other four are proxies: they count
what a program can see, and say no more than that. docs/judging.md has the rules as a table.
"""

from __future__ import annotations

from envs.referee import attainable, goal_score, utilities
from envs.scenarios.task import Task
from envs.types import Deal, Episode
from judges.base import DIMENSION_RANGES, Judgement, Scores, judge, unscored, why_unscorable
from judges.conduct import Conduct, read_conduct

_COST_OF_INVALID_ACTION = 2
_COST_OF_REPETITION = 1
_COST_OF_BARE_REJECTION = 1
_COST_OF_LEAK_TO_TRUST = 1
_COST_OF_LEAVING_WITHOUT_DEAL = 3
_COST_OF_BROKEN_PROMISE = 3
_COST_OF_LEAVING_ABRUPTLY = 4
_WORTH_OF_OFFER_HEARD = 2
_WORTH_OF_STATEMENT_HEARD = 1


@judge("verifiable", sees_task=True)
class VerifiableJudge:
    """Scores every episode whose scenario has a task; the same episode always scores the same."""

    @property
    def id(self) -> str:
        return "verifiable"

    @property
    def version(self) -> str:
        return "1"

    async def judge(self, episode: Episode) -> Judgement:
        """Score both seats, or say that there is no task to check."""
        if (reason := why_unscorable(episode)) is not None:
            return unscored(self, reason)
        task = episode.scenario.task
        if task is None:
            return unscored(
                self,
                f"Scenario {episode.scenario.id} has no task that a program can check;"
                " let a rubric judge score it.",
            )
        conducts = (read_conduct(task, episode.turns, 0), read_conduct(task, episode.turns, 1))
        return Judgement(
            self.id,
            self.version,
            scores=tuple(
                score_seat(task, seat, episode.deal, conduct)
                for seat, conduct in enumerate(conducts)
            ),
            reasons=tuple(
                explain_seat(task, seat, episode.deal, conduct)
                for seat, conduct in enumerate(conducts)
            ),
        )


def score_seat(task: Task, seat: int, deal: Deal | None, conduct: Conduct) -> Scores:
    """One seat's seven scores, each cut to its range in `DIMENSION_RANGES`."""
    return Scores(
        believability=_clamp("believability", believability(conduct)),
        relationship=_clamp("relationship", relationship(task, seat, deal, conduct)),
        knowledge=_clamp("knowledge", knowledge(conduct)),
        secret=_clamp("secret", secret(conduct)),
        social_rules=_clamp("social_rules", social_rules(conduct)),
        financial_and_material_benefits=_clamp(
            "financial_and_material_benefits", material_benefits(task, seat, deal)
        ),
        goal=_clamp("goal", goal_score(task, seat, deal)),
    )


def believability(conduct: Conduct) -> float:
    """10, less 2 for each invalid action and 1 for each repetition of an own turn."""
    return (
        10.0
        - _COST_OF_INVALID_ACTION * conduct.invalid_actions
        - _COST_OF_REPETITION * conduct.repetitions
    )


def relationship(task: Task, seat: int, deal: Deal | None, conduct: Conduct) -> float:
    """What the partner got, and how it was treated.

    Half of the partner's goal score (0..5), less 3 for leaving without a deal, 1 for each bare
    rejection and 1 for each leak.
    """
    left_empty_handed = conduct.left and deal is None
    return (
        goal_score(task, 1 - seat, deal) / 2
        - _COST_OF_LEAVING_WITHOUT_DEAL * left_empty_handed
        - _COST_OF_BARE_REJECTION * conduct.bare_rejections
        - _COST_OF_LEAK_TO_TRUST * conduct.leaks
    )


def knowledge(conduct: Conduct) -> float:
    """2 for each distinct offer of the partner, 1 for each distinct statement, at most 10.

    Every offer and statement bears on the partner's private tastes. How much the seat made of
    them cannot be seen, so this counts what it could have learned.
    """
    return (
        _WORTH_OF_OFFER_HEARD * conduct.offers_heard
        + _WORTH_OF_STATEMENT_HEARD * conduct.statements_heard
    )


def secret(conduct: Conduct) -> float:
    """0 if kept; -10 for a leak, and a second one cannot make it worse."""
    return -10.0 if conduct.leaks else 0.0


def social_rules(conduct: Conduct) -> float:
    """0, less 3 for each broken promise and 4 for leaving abruptly.

    A promise is broken by withdrawing an unanswered offer for a worse one, or by rejecting one's
    own earlier terms.
    """
    broken_promises = conduct.withdrawn_offers + conduct.own_terms_refused
    return (
        0.0
        - _COST_OF_BROKEN_PROMISE * broken_promises
        - _COST_OF_LEAVING_ABRUPTLY * conduct.left_abruptly
    )


def material_benefits(task: Task, seat: int, deal: Deal | None) -> float:
    """Own points over the best attainable ones, times 5; a loss is negative, no deal is 0."""
    # The aim is reachable, so it is never above the best; it only guards the division.
    most = max(attainable(task).best[seat], task.aims[seat])
    return 5 * utilities(task, deal)[seat] / most


def explain_seat(task: Task, seat: int, deal: Deal | None, conduct: Conduct) -> str:
    """One sentence: what the seat got and what counted against it."""
    if deal is None:
        got = f"Seat {seat} made no deal"
    else:
        points = utilities(task, deal)[seat]
        got = (
            f"Seat {seat} got {points:g} points; it aimed for {task.aims[seat]:g}"
            f" and could have had {attainable(task).best[seat]:g}"
        )
    faults = _faults(conduct)
    return f"{got}; against it: {', '.join(faults)}." if faults else f"{got}."


def _faults(conduct: Conduct) -> list[str]:
    counts = {
        "invalid action": conduct.invalid_actions,
        "repetition": conduct.repetitions,
        "leak": conduct.leaks,
        "rejection without an offer": conduct.bare_rejections,
        "withdrawn offer": conduct.withdrawn_offers,
        "refusal of its own terms": conduct.own_terms_refused,
    }
    faults = [f"{name} ({count}x)" for name, count in counts.items() if count]
    if conduct.left:
        faults.append("left abruptly" if conduct.left_abruptly else "left")
    return faults


def _clamp(dimension: str, value: float) -> float:
    low, high = DIMENSION_RANGES[dimension]
    return float(min(high, max(low, value)))
