"""Model players whose every word is known, on the real tokenizer and the real token stream."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from agents.chat_template import ChatTemplate
from agents.embedded import make_tokenizer
from agents.policy import ModelPlayer
from agents.prompts import STYLES
from engines.batcher import Batcher
from engines.types import Completion, Sampling
from envs.scenarios.families.plans import PlansTask
from envs.social import Rules
from envs.types import Profile, Relationship, Scenario
from judges.base import Judge
from judges.critics.base import own_turns
from judges.verifiable import VerifiableJudge
from training.methods.records import PlayedEpisode
from training.play.rollout import EpisodePlan, play_wave

STREAM = ChatTemplate(make_tokenizer())
STYLE = STYLES["brief"]
RULES = Rules(max_turns=8)
TALK = (
    "say i like zoo",
    "do offer cafe",
    "do offer park",
    "<think> 3 -2 </think> do offer zoo",
    "<think> 7 2 </think> do accept",
)
TASK = PlansTask(aims=(5.0, 8.0), options=("cafe", "park", "zoo"), tastes=((1, 7, 3), (9, 2, 4)))
"""
         cafe  park  zoo   aim
seat 0     1     7     3     5
seat 1     9     2     4     8    the largest sum is 10, at cafe
"""


class LineEngine:
    """Says one of some lines, by the seed of the request alone."""

    def __init__(self, lines: Sequence[str] = TALK) -> None:
        self.lines = lines
        self.prompts: list[tuple[int, ...]] = []

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        self.prompts.append(prompt_ids)
        ids = STREAM.encode_reply(Random(seed).choice(self.lines))
        return Completion(ids, tuple(-1.0 for _ in ids), "0123456789ab")


def line_player(name: str = "policy", lines: Sequence[str] = TALK) -> ModelPlayer:
    """A player that says one of some lines at each turn."""
    return ModelPlayer(name, LineEngine(lines), STREAM, STYLE, Sampling(max_new_tokens=24))


def scenario(number: int = 0, task: PlansTask | None = TASK) -> Scenario:
    """The plans above, under any number."""
    return Scenario(
        id=f"plans/train/{number}",
        family="plans",
        split="train",
        context="Ana and Ben have a free Saturday.",
        goals=("Get 5 points.", "Get 8 points."),
        briefs=("plans cafe:1 park:7 zoo:3 aim=5", "plans cafe:9 park:2 zoo:4 aim=8"),
        profiles=(Profile("Ana"), Profile("Ben")),
        relationship=Relationship.STRANGER,
        task=task,
    )


def play_lines(*plans: EpisodePlan, judge: Judge | None = None) -> list[PlayedEpisode]:
    """Play some episodes side by side."""
    return play_wave(plans, RULES, judge or VerifiableJudge(), Batcher())


def stream_of(played: PlayedEpisode, seat: int) -> tuple[list[int], list[bool]]:
    """All tokens that a model read and said in its seat, and which of them it said."""
    ids: list[int] = []
    said: list[bool] = []
    for index in own_turns(played.episode, seat):
        made = played.generations[index]
        assert made is not None
        ids += [*made.context_ids, *made.token_ids]
        said += [False] * len(made.context_ids) + [True] * len(made.token_ids)
    return ids, said


def words(token_ids: Sequence[int]) -> str:
    """Tokens as text, special ones too."""
    return str(make_tokenizer().decode(list(token_ids), skip_special_tokens=False))
