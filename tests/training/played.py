"""Made-up records for the tests of what stores, resumes and shows them."""

from __future__ import annotations

import random

from engines.types import Generation, Sampling
from envs.scenarios.families.plans import PlansTask
from envs.types import Action, ActionType, EndReason, Episode, Profile, Relationship, Scenario, Turn
from judges.base import Judgement, Scores
from training.methods.records import BranchGroup, PlayedEpisode

SPEAK, ACT, LEAVE = ActionType.SPEAK, ActionType.ACT, ActionType.LEAVE


def scenario_of(scenario_id: str) -> Scenario:
    """A scenario that its id alone decides, as families make them."""
    rng = random.Random(scenario_id)
    first = tuple(rng.randint(0, 10) for _ in range(3))
    second = tuple(rng.randint(0, 10) for _ in range(3))
    options = ("cafe", "park", "zoo")
    return Scenario(
        id=scenario_id,
        family="plans",
        split="test",
        context="Ana and Ben have a free Saturday and want to spend it together.",
        goals=(f"Ana wants {first} points.", f"Ben wants {second} points."),
        briefs=("cafe 1", "cafe 2"),
        profiles=(
            Profile("Ana", "Ruiz", 31, "baker", moral_values=("care", "fairness"), secret="sings"),
            Profile("Ben", schwartz_personal_values=("security",)),
        ),
        relationship=Relationship.FRIEND,
        task=PlansTask(aims=(5.0, 5.0), options=options, tastes=(first, second)),
    )


def played(
    name: str,
    *,
    n_turns: int = 4,
    parent: PlayedEpisode | None = None,
    branch_turn: int | None = None,
    words: str = "What about the park?",
    scored: bool = True,
    goals: tuple[float, float] = (6.5, 8.0),
) -> PlayedEpisode:
    """An episode of `n_turns`; a branch shares the parent's turns before `branch_turn`."""
    rng = random.Random(name)
    kept = 0 if parent is None else branch_turn or 0
    shared = () if parent is None else parent.episode.turns[:kept]
    old = () if parent is None else parent.generations[:kept]
    turns = tuple(
        Turn(i, i % 2, Action(SPEAK, f"{words} ({name}, {i})")) for i in range(kept, n_turns)
    )
    made = tuple(generation(rng) if rng.random() < 0.9 else None for _ in turns)
    scores = tuple(Scores(9, 2.5, 3, 0, -0.1, 1 / 3, goal) for goal in goals)
    return PlayedEpisode(
        id=name,
        episode=Episode(
            scenario=scenario_of(
                f"plans/{sum(map(ord, name)) % 7}" if parent is None else parent.episode.scenario.id
            ),
            turns=shared + turns,
            end=EndReason.DEAL if scored else EndReason.TURN_LIMIT,
            deal=(1,) if scored else None,
        ),
        players=("policy@3", "scripted@1"),
        generations=old + made,
        seed=rng.getrandbits(80),
        judgement=Judgement("verifiable", "1", scores, ("a", "b"), {"spread.goal": 1 / 3})
        if scored
        else Judgement("rubric", "2", (), ("the judge timed out",)),
        parent_id=None if parent is None else parent.id,
        branch_turn=branch_turn,
    )


def generation(rng: random.Random) -> Generation:
    n = rng.randint(1, 12)
    return Generation(
        context_ids=tuple(rng.randrange(2**31) for _ in range(20)),
        token_ids=tuple(rng.randrange(130) for _ in range(n)),
        logps=tuple(-rng.expovariate(1) for _ in range(n)),
        sampling=Sampling(0.7, logit_bias=((3, -1.5), (4, 0.1)), pattern="a+" if n % 2 else None),
        seed=rng.getrandbits(80),
        weights_version="0123456789ab",
        constraint_nats=n / 3 if n % 2 else None,
    )


def group(name: str, trunk: PlayedEpisode, k: int = 3, turn: int = 2) -> BranchGroup:
    """A group of the trunk and `k` new continuations from `turn` on."""
    new = [played(f"{name}.{i}", parent=trunk, branch_turn=turn) for i in range(k)]
    win_probs = tuple(i / k for i in range(k + 1))
    return BranchGroup(name, turn % 2, turn, "random", "drawn", (trunk, *new), win_probs)
