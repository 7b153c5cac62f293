"""The pairwise judge: a language model sees two continuations of one history and says which wins.

It is shown each pair in both orders, because models favour a place; where it names another winner
in the other order, that is a flip, and both together are a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from engines.chat import Chat, ChatRequest
from engines.gather import together
from envs.errors import ConfigError, RemoteError, UnscoredError
from envs.types import Episode
from judges.base import why_unscorable
from judges.choice import Choice, choice_schema, read_choice
from judges.pairwise import Comparison
from judges.prompt_guard import seal, sealed_messages
from judges.transcript_view import drawn_labels, shown_continuation, shown_scene, shown_turns
from judges.verdict import Asked, ask_until_valid
from judges.versions import SPECIMEN, version_of

GOAL_FIRST = (
    "which one brings the agent closer to its private goal; only where that is equal, which one"
    " leaves the two on better terms, keeps the agent's secret and breaks no rule of conduct"
)
"""As SDPO ranks continuations: goal, then relationship (arXiv 2501.01821, section 3.2)."""

_FIRST, _SECOND, _TIE = "continuation_1", "continuation_2", "tie"
_CHOICES = (_FIRST, _SECOND, _TIE)
_POINTS = {_FIRST: 1.0, _TIE: 0.5, _SECOND: 0.0}

_TASK = f"""\
You compare two continuations of one conversation. Both begin with the same turns, "shared_turns"; \
then {{name}} acts again, differently in "{_FIRST}" and "{_SECOND}". Decide which continuation is \
better by this criterion: {{criterion}}. The agent meant is {{name}}.
Go by what {{name}} does and by what comes of it. Which continuation is shown first was drawn by \
lot and means nothing. "goal_scores", where there are any, were computed by a program from 0 to 10 \
and are true. Where neither continuation is better, it is a tie."""

_QUESTION = f"""\
Which continuation is better for {{name}}? Answer with one JSON object and nothing else. It has \
exactly these keys, in this order:
"reason": one sentence that cites turns by their numbers;
"better": "{_FIRST}", "{_SECOND}" or "{_TIE}"."""


@dataclass(frozen=True)
class LlmPairwiseJudge:
    """Asks a chat model, in both orders.

    One answer that cannot be had leaves the pair unscored: what remained would favour a place.

    Attributes:
        samples: how often each pair is asked about in both orders, at least 1; every other time
            the agents' labels are swapped.
        max_asks: replies that one answer may take, at least 1.
        temperature: of the model; None leaves it to the provider.
        criterion: what makes a continuation better, as the middle of a sentence.
    """

    chat: Chat
    samples: int = 1
    max_asks: int = 3
    temperature: float | None = 0.0
    max_tokens: int = 600
    criterion: str = GOAL_FIRST

    def __post_init__(self) -> None:
        for name in ("samples", "max_asks", "max_tokens"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} of a pairwise judge is {value}, expected at least 1.")
        if not self.criterion.strip():
            raise ConfigError("The criterion of a pairwise judge is empty; say what is better.")

    @property
    def id(self) -> str:
        return f"pairwise({self.chat.id})"

    @cached_property
    def version(self) -> str:
        """Changes with the model, the options and every word that is sent."""
        requests = [self._request(SPECIMEN, SPECIMEN, seat=0, turn=2, sample=k) for k in range(2)]
        options = (self.samples, self.max_asks, self.temperature, self.max_tokens, self.criterion)
        return version_of(self.chat, options, requests)

    async def compare(self, first: Episode, second: Episode, seat: int, turn: int) -> Comparison:
        """Ask for all samples in both orders side by side."""
        for episode in (first, second):
            if (reason := why_unscorable(episode)) is not None:
                return Comparison(None, reason)
        numbers = range(self.samples)
        orders = [((first, second), k) for k in numbers] + [((second, first), k) for k in numbers]
        try:
            asked = await together(self._ask(*pair, seat, turn, k) for pair, k in orders)
        except (RemoteError, UnscoredError) as error:
            return Comparison(None, str(error))
        points = [_POINTS[each.value.value] for each in asked]
        forth, back = points[: self.samples], [1 - p for p in points[self.samples :]]
        reason = asked[0].value.reason  # of the one order in which the first stands first
        return Comparison(
            win_prob=sum(forth + back) / (2 * self.samples),
            reason=reason.replace(_FIRST, "the first").replace(_SECOND, "the second"),
            samples=self.samples,
            flips=sum(abs(f - b) == 1 for f, b in zip(forth, back, strict=True)),
            models=tuple(sorted({each.model for each in asked})),
        )

    async def _ask(
        self, shown_first: Episode, shown_second: Episode, seat: int, turn: int, sample: int
    ) -> Asked[Choice[str]]:
        request = self._request(shown_first, shown_second, seat, turn, sample)
        names = drawn_labels(shown_first.scenario, sample)
        read = partial(read_choice, key="better", choices=_CHOICES, names=names)
        return await ask_until_valid(self.chat, request, read, self.max_asks)

    def _request(
        self, shown_first: Episode, shown_second: Episode, seat: int, turn: int, sample: int
    ) -> ChatRequest:
        scenario = shown_first.scenario
        names = drawn_labels(scenario, sample)
        shown = shown_scene(scenario, names) | {
            "shared_turns": shown_turns(shown_first.turns[:turn], names),
            _FIRST: shown_continuation(shown_first, turn, names),
            _SECOND: shown_continuation(shown_second, turn, names),
        }
        return ChatRequest(
            messages=sealed_messages(
                _TASK.format(name=names[seat], criterion=self.criterion),
                seal(shown, sample),
                _QUESTION.format(name=names[seat]),
                names,
            ),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seed=sample,
            schema=choice_schema("better", _CHOICES),
            purpose="judge",
        )
