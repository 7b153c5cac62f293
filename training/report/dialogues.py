"""The first dialogues of a run's final comparison as text, before and after training."""

from __future__ import annotations

from pathlib import Path

from training.report.transcripts import TranscriptView, TurnView, view_episode
from training.storage.run_files import BC, STORE, TRAINED
from training.storage.store import Store


def first_dialogues(folder: Path, partner: str, count: int) -> list[dict[str, str]]:
    """Take the first scenarios that bc and the trained policy both played, whatever they say.

    Args:
        folder: a finished run.
        partner: whom both were measured against, such as "experts".
        count: of scenarios, in the order in which they were drawn.

    Returns:
        {"scenario", "before", "after"} for each: its id, and both dialogues as text. Empty if the
        run has no bc or no such partner.
    """
    with Store.read_only(folder / STORE) as store:
        played = {
            name: [
                episode
                for key in store.waves()
                if key.phase == f"evaluate-{name}-{partner}"
                for episode in store.episodes(key.phase, key.iteration, key.wave)
            ]
            for name in (BC, TRAINED)
        }
    # Both policies play the same scenarios from the same seats with the same seeds.
    after = {episode.seed: episode for episode in played[TRAINED]}
    pairs = [(before, after[before.seed]) for before in played[BC] if before.seed in after]
    return [
        {
            "scenario": before.episode.scenario.id,
            "before": as_text(view_episode(before)),
            "after": as_text(view_episode(trained)),
        }
        for before, trained in pairs[:count]
    ]


def as_text(view: TranscriptView) -> str:
    """One line a turn, after the context and each side's goal, and the scores at the end."""
    goals = [f"{seat.name} ({seat.player}) wants: {seat.goal}" for seat in view.seats]
    return "\n".join(
        [view.context, *goals, "", *map(_line, view.turns), "", f"Goals: {view.goals}."]
    )


def _line(turn: TurnView) -> str:
    said = " ".join(filter(None, (turn.name + ("" if turn.verb else ":"), turn.verb, turn.words)))
    remarks = [f"invalid: {turn.invalid}"] * bool(turn.invalid)
    remarks += [f"near miss: {turn.near_miss}"] * bool(turn.near_miss)
    return f"{said} ({'; '.join(remarks)})" if remarks else said
