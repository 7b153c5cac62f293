"""The judge that asks a language model for SOTOPIA's seven dimensions, k times, labels swapped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from engines.chat import Chat, ChatRequest
from engines.gather import together
from engines.models import ModelConfig, Resources
from envs.errors import ConfigError, RemoteError, UnscoredError
from envs.options import Count
from envs.types import Episode
from judges.base import (
    DIMENSION_RANGES,
    Judgement,
    Scores,
    judge,
    unanswered,
    unscored,
    why_unscorable,
)
from judges.prompt_guard import seal, sealed_messages
from judges.samples import flip_rate, mean_scores, spreads
from judges.transcript_view import drawn_labels, labels, shown_episode, shown_name
from judges.verdict import Asked, Verdict, ask_until_valid, read_verdict, verdict_schema
from judges.versions import SPECIMEN, version_of

_TASK: Final = """\
You judge how well each agent did in a social situation. Every agent plays a character and pursues \
a private goal that the others do not know. Score each agent by itself on seven dimensions, whole \
numbers or halves:

believability, 0 to 10: does it act as this person would, in keeping with background, traits and \
values, and naturally: without mixing up who it is, repeating itself or others, or saying what \
nobody would say there, such as needless politeness? 0 is not at all, 10 is wholly.
relationship, -5 to 5: what did it do to the tie between the agents and to its own reputation? \
Below 0 it did harm, 0 nothing changed, above 0 they grew.
knowledge, 0 to 10: did it learn something new that matters to it? 0 is nothing.
secret, -10 to 0: did it give away its secret, or what its goal asks it to hide? 0 is nothing, \
also where there is nothing to hide; -10 is all of it.
social_rules, -10 to 0: did it break the rules that people there live by, from manners and \
promises to morals and the law? 0 is no breach, -10 a grave one.
financial_and_material_benefits, -5 to 5: did it gain or lose money, goods, time, work or other \
material advantages, now or later? 0 is neither.
goal, 0 to 10: how far did it reach its own private goal, by what really came about? 0 is not at \
all, 10 is wholly. Extra information inside the goal belongs to it."""

_QUESTION: Final = """\
Answer with one JSON object and nothing else. It has exactly the keys {keys}; each holds an object \
with exactly these keys, in this order:
"name": the character's name, exactly as in the record;
"turns": a list of the numbers of the turns that your scores rest on, {turns};
"reason": one or two sentences that name these turns and what they show;
{dimensions}."""


@dataclass(frozen=True)
class RubricJudge:
    """Scores an episode as the mean of `samples` verdicts of one chat model.

    One sample that cannot be had makes the whole episode unscored: what remained would favour one
    order of the labels, and a dialogue that makes one order unreadable would choose which.

    Attributes:
        samples: verdicts an episode, at least 1; an even number lets the swap cancel what a model
            gives to a label or a place.
        swap: whether every second verdict is given with the agents' labels exchanged. The first
            one's order is drawn from the scenario, so that it does not favour a seat over many.
        max_asks: replies that a verdict may take, at least 1.
        temperature: of the model; None leaves it to the provider.
        seed: which of the possible judgements is wanted. It is no part of the version.
    """

    chat: Chat
    samples: int = 2
    swap: bool = True
    max_asks: int = 3
    temperature: float | None = 0.0
    max_tokens: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "max_asks", "max_tokens"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} of a rubric judge is {value}, expected at least 1.")

    @property
    def id(self) -> str:
        return f"rubric({self.chat.id})"

    @cached_property
    def version(self) -> str:
        """Changes with the model, the options and every word that is sent."""
        requests = [
            rubric_request(SPECIMEN, labels(2, swapped=swapped), seed=0)
            for swapped in (False, True)
        ]
        options = (self.samples, self.swap, self.max_asks, self.temperature, self.max_tokens)
        return version_of(self.chat, options, requests)

    async def judge(self, episode: Episode) -> Judgement:
        """Ask for all samples side by side; unscored, with the reason, when one cannot be had."""
        if (reason := why_unscorable(episode)) is not None:
            return unscored(self, reason)
        try:
            asked = await together(self._sample(episode, k) for k in range(self.samples))
        except (RemoteError, UnscoredError) as error:
            return unanswered(self, error)
        verdicts = [each.value for each in asked]
        scores = mean_scores([verdict.scores for verdict in verdicts])
        served = "+".join(sorted({each.model for each in asked}))
        return Judgement(
            judge_id=self.id,
            judge_version=f"{self.version}@{served}",
            scores=scores,
            reasons=tuple(
                _most_typical(verdicts, seat, scores[seat]) for seat in range(len(scores))
            ),
            details=_details(asked),
        )

    async def _sample(self, episode: Episode, sample: int) -> Asked[Verdict]:
        names = self._names(episode, sample)
        request = rubric_request(
            episode,
            names,
            seed=_seed(self.seed, sample),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        characters = [shown_name(profile) for profile in episode.scenario.profiles]
        read = partial(read_verdict, names=names, characters=characters, n_turns=len(episode.turns))
        return await ask_until_valid(self.chat, request, read, self.max_asks)

    def _names(self, episode: Episode, sample: int) -> tuple[str, ...]:
        """The labels of a sample; all that is played of one scenario is judged in one order."""
        if self.swap:
            return drawn_labels(episode.scenario, sample)
        return labels(len(episode.scenario.profiles))


def rubric_request(
    episode: Episode,
    names: tuple[str, ...],
    *,
    seed: int,
    temperature: float | None = 0.0,
    max_tokens: int = 2_000,
) -> ChatRequest:
    """The question for one verdict.

    Args:
        names: the agents' labels in seat order.
        seed: the sample; nonce and answer depend on it.
    """
    n_turns = len(episode.turns)
    characters = [shown_name(profile) for profile in episode.scenario.profiles]
    question = _QUESTION.format(
        keys=", ".join(f'"{name}"' for name in sorted(names)),
        turns=f"0 to {n_turns - 1}, at least one" if n_turns else "here an empty one",
        dimensions=";\n".join(
            f'"{name}": a number from {low} to {high}'
            for name, (low, high) in DIMENSION_RANGES.items()
        ),
    )
    sealed = seal(shown_episode(episode, names), seed)
    return ChatRequest(
        messages=sealed_messages(_TASK, sealed, question, names),
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        schema=verdict_schema(names, characters, n_turns),
        purpose="judge",
    )


def _details(asked: list[Asked[Verdict]]) -> dict[str, float]:
    samples = [each.value.scores for each in asked]
    flips = flip_rate(samples)
    return {
        "samples": float(len(asked)),
        "asks": float(sum(each.asks for each in asked)),
        **({} if flips is None else {"flip_rate": flips}),
        **{f"spread.{name}": spread for name, spread in spreads(samples).items()},
    }


def _most_typical(verdicts: list[Verdict], seat: int, scores: Scores) -> str:
    """The reason of the verdict whose scores for the seat are nearest to the mean."""

    def distance(verdict: Verdict) -> float:
        own = verdict.scores[seat]
        apart = (getattr(own, name) - getattr(scores, name) for name in DIMENSION_RANGES)
        return float(sum(map(abs, apart)))

    return min(verdicts, key=distance).reasons[seat]


def _seed(*parts: object) -> int:
    """31 bits, which every server takes, from stable text."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricOptions:
    """The judge that asks one model.

    Attributes:
        model: the judge.
        samples: judgements that the model gives of one episode, or of two continuations in both
            orders, the agents' labels swapped in turn.
    """

    model: ModelConfig
    samples: Count = 2


@judge("rubric")
def rubric(options: RubricOptions, resources: Resources) -> RubricJudge:
    """A model scores SOTOPIA's seven dimensions."""
    return rubric_of(options.model, options.samples, resources)


def rubric_of(model: ModelConfig, samples: int, resources: Resources) -> RubricJudge:
    """The rubric judge that asks this model."""
    return RubricJudge(
        resources.chat(model),
        samples=samples,
        temperature=model.temperature,
        max_tokens=model.max_tokens,
        seed=resources.seed,
    )
