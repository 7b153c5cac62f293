"""The critic of SDPO: a language model locates the erroneous turn and selects the segment.

The criteria are the published ones (arXiv 2501.01821, section 3). Every answer is checked, asked
for again a few times, and dropped for a reason that is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from engines.chat import Chat, ChatRequest, Message
from engines.models import ModelConfig, Resources
from envs.errors import ConfigError, RemoteError, UnscoredError
from envs.types import Episode
from judges.choice import C, Choice, choice_schema, listed, read_choice
from judges.critics.base import (
    DropKind,
    Dropped,
    Located,
    Selected,
    ValueProbe,
    critic,
    no_turn,
    own_turns,
)
from judges.prompt_guard import seal, sealed_messages
from judges.transcript_view import drawn_labels, shown_continuation, shown_scene, shown_turns
from judges.verdict import ask_until_valid

_COMPUTED = '"goal_scores", where there are any, were computed by a program from 0 to 10, and true.'

_LOCATE_TASK = f"""\
You look for the turn at which {{name}} went wrong in a conversation. It is the turn of {{name}} \
that meets all of these criteria:
1. it was critical to whether {{name}} reaches its private goal;
2. something else that {{name}} could have said or done there might have served the goal better;
3. that might also have warmed the relationship between the agents.
Where several turns do, name the one that cost most, of equals the earliest. {_COMPUTED}"""

_LOCATE_QUESTION = """\
Which turn of {name} was the error? Answer with one JSON object and nothing else. It has exactly \
these keys, in this order:
"reason": one sentence on what was wrong there and what would have been better;
"turn": one of {choices}, which are the turns of {name}; or null if none meets the criteria."""

_SELECT_TASK = f"""\
You compare a worse and a better continuation of one conversation. Both begin with the same turns, \
"shared_turns"; from turn {{turn}} on {{name}} acts differently. Find the part of "better", from \
turn {{turn}} on, that made the difference to the private goal of {{name}} and to the relationship \
between the agents: as long as it must be and no longer, without what was merely said on the way \
afterwards. {_COMPUTED}"""

_SELECT_QUESTION = """\
With which turn of {name} in "better" does the part end that made the difference? Answer with one \
JSON object and nothing else. It has exactly these keys, in this order:
"reason": one sentence on what {name} did better in that part;
"turn": one of {choices}, which are turns of {name}."""

_ONE_TURN = "The segment can hold no more than the branch turn."


@dataclass(frozen=True, slots=True)
class LlmCritic:
    """Asks a chat model.

    Attributes:
        max_asks: replies that one answer may take, at least 1.
        temperature: of the model; None leaves it to the provider.
    """

    chat: Chat
    max_asks: int = 3
    temperature: float | None = 0.0
    max_tokens: int = 600

    def __post_init__(self) -> None:
        for name in ("max_asks", "max_tokens"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} of the critic is {value}, expected at least 1.")

    @property
    def id(self) -> str:
        return "llm"

    async def locate(self, episode: Episode, seat: int, values: ValueProbe) -> Located | Dropped:
        """Ask for the erroneous own turn; `values` is not asked."""
        choices = own_turns(episode, seat)
        if not choices:
            return no_turn(seat)
        names = drawn_labels(episode.scenario)
        shown = shown_scene(episode.scenario, names) | shown_continuation(episode, 0, names)
        words = {"name": names[seat], "choices": listed(choices)}
        prompt = _prompt(_LOCATE_TASK, _LOCATE_QUESTION, words, shown, names)
        found = await self._ask(prompt, (*choices, None), names)
        if isinstance(found, Dropped):
            return found
        if found.value is None:
            return Dropped(DropKind.NO_ERROR, found.reason)
        return Located(turn=found.value, reason=found.reason, drop=0.0)

    async def select(
        self,
        worse: Episode,
        better: Episode,
        seat: int,
        turn: int,
        values: ValueProbe | None = None,
    ) -> Selected | Dropped | None:
        """Ask where the segment ends; it begins at the branch turn and fits into either side."""
        choices = own_turns(better, seat, since=turn)[: len(own_turns(worse, seat, since=turn))]
        if len(choices) == 1:
            return Selected(1, _ONE_TURN)
        names = drawn_labels(better.scenario)
        shown = shown_scene(better.scenario, names) | {
            "shared_turns": shown_turns(better.turns[:turn], names),
            "worse": shown_continuation(worse, turn, names),
            "better": shown_continuation(better, turn, names),
        }
        words = {"name": names[seat], "turn": str(turn), "choices": listed(choices)}
        prompt = _prompt(_SELECT_TASK, _SELECT_QUESTION, words, shown, names)
        found = await self._ask(prompt, choices, names)
        if isinstance(found, Dropped):
            return found
        return Selected(choices.index(found.value) + 1, found.reason)

    async def _ask(
        self, prompt: tuple[Message, ...], choices: Sequence[C], names: Sequence[str]
    ) -> Choice[C] | Dropped:
        request = ChatRequest(
            messages=prompt,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            schema=choice_schema("turn", choices),
            purpose="critic",
        )
        read = partial(read_choice, key="turn", choices=choices, names=names)
        try:
            asked = await ask_until_valid(self.chat, request, read, self.max_asks)
        except RemoteError as error:
            return Dropped(DropKind.NO_REPLY, str(error))
        except UnscoredError as error:
            return Dropped(DropKind.INVALID_REPLY, str(error))
        return asked.value


def _prompt(
    task: str,
    question: str,
    words: Mapping[str, str],
    shown: Mapping[str, object],
    names: Sequence[str],
) -> tuple[Message, ...]:
    sealed = seal(shown, seed=0)
    return sealed_messages(task.format(**words), sealed, question.format(**words), names)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmCriticOptions:
    """The critic that asks a model.

    Attributes:
        model: whom it asks.
    """

    model: ModelConfig


@critic("llm", locates=True)
def llm_critic(options: LlmCriticOptions, resources: Resources) -> LlmCritic:
    """A chat model that names the erroneous turn and the segment, as published for SDPO."""
    model = options.model
    return LlmCritic(
        resources.chat(model), temperature=model.temperature, max_tokens=model.max_tokens
    )
