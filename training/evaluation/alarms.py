"""Alarms: signs that a run learns nothing, or something else than it should, as sentences.

All of them are made here. Those of an iteration are shown as it ends and kept in its line of
metrics.jsonl; the summary repeats them, beside those of the final comparison.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from envs.types import Action
from training.evaluation.outcomes import Outcome
from training.methods.records import BranchGroup, PlayedEpisode
from training.play.context import POLICY
from training.storage.run_files import BC, TRAINED

ALARM: Final = "ALARM: "
"""How an alarm begins among the notes of a summary."""

MOST_INVALID: Final = 0.1
"""The share of a player's turns above which invalid ones are an alarm."""

FEWEST_ALIKE: Final = 4
"""So many episodes with equal scores are an alarm; fewer may be chance."""

LOSS_GROWTH: Final = 10.0
"""An update whose loss grows by this factor diverges."""

CHOSEN_FALL: Final = 1.0
"""Nats by which chosen turns may become less probable in an update."""

DEAL_FALL: Final = 0.2
"""By so much the share of deals may fall below that of the first iteration, or of the clone."""

WORDS_GROWTH: Final = 1.5
"""By this factor words a turn may grow or shrink since the first iteration."""

Outcomes = Mapping[str, Mapping[str, Outcome]]
"""Outcomes by policy and partner."""

Record = Mapping[str, Any]
"""An iteration's line of metrics.jsonl."""


def play_numbers(episodes: Sequence[PlayedEpisode]) -> dict[str, float]:
    """How the policy plays while data is collected, to see it drift.

    Returns:
        `deal_rate` over the episodes whose goal a program can check; of the policy's seats the
        mean `goal` of scored episodes, `words_per_turn` and `invalid_rate`. Each is left out where
        there is nothing to count.
    """
    actions = [
        turn.action
        for played in episodes
        for turn in played.episode.turns
        if played.players[turn.seat] == POLICY
    ]
    goals = [
        scores.goal
        for played in episodes
        for seat, scores in enumerate(played.judgement.scores)
        if played.players[seat] == POLICY
    ]
    counted: dict[str, Sequence[float]] = {
        "goal": goals,
        "deal_rate": _deals(episodes),
        "words_per_turn": [len(action.text.split()) for action in actions],
        "invalid_rate": [action.invalid is not None for action in actions],
    }
    return {name: sum(values) / len(values) for name, values in counted.items() if values}


def iteration_alarms(
    record: Record,
    episodes: Sequence[PlayedEpisode],
    groups: Sequence[BranchGroup],
    before: Sequence[Record],
) -> dict[str, str]:
    """The alarms of one iteration by kind.

    Args:
        record: what metrics.jsonl will say of it.
        before: the records of the run, of which those of earlier iterations count.
    """
    iteration = record["iteration"]
    first: Record = next((r for r in before if 0 < r["iteration"] < iteration), record)
    found = {
        "unscored": _nothing_scored(iteration, episodes),
        "alike": _alike(f"of iteration {iteration}", episodes),
        "ties": _all_ties(iteration, groups),
        "no_examples": _nothing_to_learn(record),
        "loss": _diverging(record),
        "chosen": _chosen_fall(record),
        "deals": _fewer_deals(record, first),
        "words": _other_words(record, first),
    }
    return {kind: sentence for kind, sentence in found.items() if sentence is not None}


def run_alarms(metrics: Sequence[Record]) -> list[str]:
    """The alarms of all iterations for the notes of a summary: the first of each kind."""
    found: dict[str, list[str]] = {}
    for record in metrics:
        for kind, sentence in record.get("alarms", {}).items():
            found.setdefault(kind, []).append(sentence)
    notes = [
        f"{ALARM}{first}" + (f" So it was in {len(more)} more iterations." if more else "")
        for first, *more in found.values()
    ]
    trained = [record for record in metrics if record["iteration"] > 0]
    if trained and not any(record.get("examples") for record in trained):
        notes.insert(
            0,
            f"{ALARM}no iteration had an example to learn from, so the trained policy is the clone "
            "that it began as.",
        )
    return notes


def scored_alike(outcomes: Outcomes) -> list[str]:
    """An alarm where a judge gave all episodes of a final comparison the same scores."""
    played = [e for found in outcomes.values() for o in found.values() for e in o.episodes]
    said = _alike("of the final comparison", played)
    return [] if said is None else [f"{ALARM}{said}"]


def lost_deals(outcomes: Outcomes) -> list[str]:
    """An alarm for each partner with whom the trained policy closes far fewer deals than its clone.

    No iteration can tell: what the last update did is first seen in the final comparison.
    """
    notes = []
    for partner, after in outcomes.get(TRAINED, {}).items():
        before = outcomes.get(BC, {}).get(partner)
        was, now = _deals(before.episodes if before else ()), _deals(after.episodes)
        if was and now and _fell(fmean(was), len(was), fmean(now), len(now)):
            notes.append(
                f"{ALARM}Against {partner} {fmean(now):.0%} of the trained policy's dialogues end "
                f"in a deal, and {fmean(was):.0%} of its clone's did: it may have learned to "
                "refuse. A lower update.learning_rate, fewer iterations or critic=random may help; "
                "the report has dialogues."
            )
    return notes


def _deals(episodes: Iterable[PlayedEpisode]) -> list[bool]:
    """Whether each episode ended in a deal, where a program can check that."""
    return [e.episode.deal is not None for e in episodes if e.episode.scenario.task is not None]


def _fell(was: float, was_count: int, now: float, now_count: int) -> bool:
    """Whether a share of deals fell by more than is allowed and than chance explains."""
    spread = math.sqrt(was * (1 - was) / max(1, was_count) + now * (1 - now) / max(1, now_count))
    return was - now > max(DEAL_FALL, 2 * spread)


def _nothing_scored(iteration: int, episodes: Sequence[PlayedEpisode]) -> str | None:
    if not episodes or any(one.judgement.is_scored for one in episodes):
        return None
    first = "; ".join(episodes[0].judgement.reasons) or "no reason was given"
    return (
        f"The judge scored none of the {len(episodes)} episodes of iteration {iteration}, so it "
        f"says nothing about the policy. The first reason: {first}"
    )


def _alike(where: str, episodes: Iterable[PlayedEpisode]) -> str | None:
    scored = [one for one in episodes if one.judgement.is_scored]
    if len(scored) < FEWEST_ALIKE or len({one.judgement.scores for one in scored}) > 1:
        return None
    goals = " and ".join(f"{scores.goal:g}" for scores in scored[0].judgement.scores)
    return (
        f"The judge gave all {len(scored)} scored episodes {where} the same scores (goals {goals}),"
        " so it tells no play from another. Read some of them, and choose another judge or a "
        "policy that makes valid actions."
    )


def _all_ties(iteration: int, groups: Sequence[BranchGroup]) -> str | None:
    if not groups or any(len(set(group.win_probs)) > 1 for group in groups):
        return None
    return (
        f"All {len(groups)} branch groups of iteration {iteration} are ties: no continuation was "
        "better than another. Choose another judge, a higher temperature or more "
        "branch.continuations."
    )


def _nothing_to_learn(record: Record) -> str | None:
    if record["examples"]:
        return None
    return (
        f"Iteration {record['iteration']} has nothing to learn from: none of its "
        f"{record['groups']} branch groups gave an example, and the policy stays as it is. The "
        "report counts the reasons; a lower pairing.margin, more branch.points or a policy that "
        "makes valid actions may help."
    )


def _diverging(record: Record) -> str | None:
    numbers: Mapping[str, float] = record["update"]
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    advice = "Lower update.learning_rate, or the objective's beta or eta."
    if bad:
        return (
            f"In the update of iteration {record['iteration']} {', '.join(bad)} is no finite "
            f"number, though the loss still is. {advice}"
        )
    first, last = abs(numbers.get("loss_first", 0.0)), abs(_at_its_end(numbers, "loss"))
    if first == 0 or last <= LOSS_GROWTH * first:
        return None
    return (
        f"In the update of iteration {record['iteration']} the loss went from {first:.3g} to "
        f"{last:.3g}, so it diverges. {advice}"
    )


def _at_its_end(numbers: Mapping[str, float], name: str) -> float:
    """A number of an update's last epoch; records of earlier releases have the last batch's."""
    return numbers.get(f"{name}_last", numbers.get(name, 0.0))


def _chosen_fall(record: Record) -> str | None:
    ratio = _at_its_end(record["update"], "chosen_log_ratio")
    if not ratio < -CHOSEN_FALL:
        return None
    return (
        f"After the update of iteration {record['iteration']} the chosen turns are less probable "
        f"than under the reference, by {-ratio:.2f} nats on average: the policy unlearns what it "
        "is to learn. A higher update.nll_weight, a lower update.learning_rate or objective=dpop "
        "holds them."
    )


def _fewer_deals(record: Record, first: Record) -> str | None:
    if "deal_rate" not in record or "deal_rate" not in first:
        return None
    was, now = first["deal_rate"], record["deal_rate"]
    if not _fell(was, first["episodes"], now, record["episodes"]):
        return None
    return (
        f"In the play of iteration {record['iteration']} {now:.0%} of the episodes end in a deal, "
        f"and {was:.0%} did in iteration {first['iteration']}: the policy may learn to refuse. See "
        "the acceptance curve, and goal beside partner goal."
    )


def _other_words(record: Record, first: Record) -> str | None:
    was, now = first.get("words_per_turn"), record.get("words_per_turn")
    if not was or not now or 1 / WORDS_GROWTH <= now / was <= WORDS_GROWTH:
        return None
    return (
        f"The policy says {now:.1f} words a turn in iteration {record['iteration']}, and said "
        f"{was:.1f} in iteration {first['iteration']}: the judge may reward length rather than "
        "sense, or turns break off. Read some of them in the report."
    )


def invalid_turns(outcomes: Outcomes) -> list[str]:
    """An alarm for each policy of whose seats, or whose partner's, many turns are no valid action.

    Scores of such episodes say little: a player that is not understood does nothing.
    """
    return [
        f"{ALARM}{len(turns.faults)} of {turns.taken} turns of {turns.where} are no valid action. "
        f"The first one: {turns.faults[0]}"
        for turns in _turns_with(outcomes, lambda action: action.invalid)
        if len(turns.faults) > MOST_INVALID * turns.taken
    ]


def near_misses(outcomes: Outcomes) -> list[str]:
    """A note for each player that said yes to offers without the act that closes a deal."""
    return [
        f"In {len(turns.faults)} of {turns.taken} turns of {turns.where} a yes was said without "
        "the act that closes a deal."
        for turns in _turns_with(outcomes, lambda action: action.near_miss)
    ]


@dataclass(frozen=True, slots=True)
class _Turns:
    """The turns of one player in one outcome in which something went wrong.

    Attributes:
        where: the player, and in which episodes.
        taken: all turns of the player.
        faults: what went wrong, in order; at least one.
    """

    where: str
    taken: int
    faults: list[str]


def _turns_with(outcomes: Outcomes, fault_of: Callable[[Action], str | None]) -> Iterator[_Turns]:
    """Each player's turns in each outcome for which `fault_of` says what went wrong."""
    for name, found in outcomes.items():
        for partner, outcome in found.items():
            taken: Counter[str] = Counter()
            faults: dict[str, list[str]] = {}
            for played in outcome.episodes:
                for turn in played.episode.turns:
                    player = played.players[turn.seat]
                    taken[player] += 1
                    if (fault := fault_of(turn.action)) is not None:
                        faults.setdefault(player, []).append(fault)
            for player, of_player in faults.items():
                where = f"{player} ({name} against {partner})"
                yield _Turns(where, taken[player], of_player)
