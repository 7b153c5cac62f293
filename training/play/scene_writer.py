"""A model that writes open scenes, as in SOTOPIA-pi (arXiv 2403.08715): questions, replies, checks.

Each attempt shows it a few of Parley's own training scenes and a topic that is drawn. What it
writes is dropped if it is like a known scene, or if the model itself, asked again, finds no tension
between the goals. Everything an attempt asks follows from the seed and the attempt's number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from engines.chat import Chat, ChatRequest, Message
from engines.models import ModelConfig
from envs.errors import RemoteError, UnscoredError
from envs.scenarios.likeness import ALIKE, Sketch, is_benchmark, most_alike, sketches
from envs.scenarios.open_ended import open_scenes
from envs.scenarios.records import OLDEST, EnvironmentRecord, read_jsonl
from envs.types import Relationship
from judges.verdict import ask_until_valid, read_object

EXAMPLES: Final = 3
"""Scenes that the model is shown."""

MAX_ASKS: Final = 2
"""How often it is asked for one reply that can be read."""

YOUNGEST: Final = 16

_PLACES: Final = (
    "a shared flat", "a small firm", "a hospital ward", "a village fair", "a night train",
    "a school", "a restaurant kitchen", "a wedding", "a sports club", "a repair shop", "a theatre",
    "a farm", "a museum", "a courthouse corridor", "a campsite", "an online game", "a harbour",
    "a laboratory", "a family dinner", "a charity shop", "a newspaper office", "a building site",
    "a playground", "a market stall",
)  # fmt: skip
_MATTERS: Final = (
    "a promise that has become hard to keep", "who is to be named first", "money that was lent",
    "a secret that a third person confided", "credit for somebody's work", "an apology that is due",
    "a scarce thing that two people need", "a rumour", "care for a parent", "a gift that offends",
    "a rule that seems unfair", "a chance that only one can take", "a mistake nobody has noticed",
    "noise and quiet", "a change of plans", "a price", "an old friendship under strain",
    "trust after a lie", "how to share a chore", "a farewell", "advice that was not asked for",
    "a risk for others", "jealousy", "customs of two families",
)  # fmt: skip
TOPICS: Final = tuple(f"{matter}, at {place}" for place, matter in product(_PLACES, _MATTERS))

_LEVELS: Final = ", ".join(f"{r.value} {r.name.lower().replace('_', ' ')}" for r in Relationship)
_TASK: Final = f"""\
You write scenes for role-play between two people. Both read the scene; each has a goal of their \
own, which the other does not know. Answer with one JSON object and nothing else, with these keys:
"scenario": one to three sentences: who meets, where and why, and nothing of the goals;
"goals": a list of two texts, what the first and the second person want of this talk;
"extra_information": a list of two texts, what only the first and only the second one knows, \
addressed as "you", that makes the goal matter;
"relationship": how well they know each other: {_LEVELS};
"youngest", "oldest": lists of two ages in years that fit the first and the second person, \
{YOUNGEST} to {OLDEST};
"occupations": a list of two occupations that the scene needs, "" where any will do.
The goals must be in tension, so that neither person reaches theirs without the other giving way \
somewhere, and yet talk can help. Name nobody. Use no angle brackets."""
_TENSION: Final = """\
You check scenes for role-play between two people. Goals are in tension if the first person \
cannot simply have all that they want without the second one having less of what they want. Two \
people who want the same, or things that have nothing to do with each other, are in no tension. \
Answer with one JSON object and nothing else:
{"reason": one sentence, "in_tension": true or false}"""
_GOAL: Final = re.compile(r"(.+?) \(<extra_info>Extra information: (.+?)</extra_info>")

Dropped = Literal[
    "the model gave no answer",
    "no reply that could be read",
    "like one of SOTOPIA's 90 scenes",
    "like one of Parley's own scenes",
    "like a scene in the file",
    "no tension between the goals",
]
"""Why an attempt gave no scene."""

T = TypeVar("T", bound=BaseModel)
_Text = Annotated[str, StringConstraints(strip_whitespace=True)]
_PAIR: Final = Field(min_length=2, max_length=2)
_Texts = Annotated[list[_Text], _PAIR]
_Ages = Annotated[list[Annotated[int, Field(ge=YOUNGEST, le=OLDEST)]], _PAIR]


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Written(_Reply):
    """A scene as the model writes it; pairs are of the first and the second person."""

    scenario: _Text
    goals: _Texts
    extra_information: _Texts
    relationship: Annotated[int, Field(ge=0, le=max(Relationship))]
    youngest: _Ages
    oldest: _Ages
    occupations: _Texts


class Tension(_Reply):
    """What the model says of the goals of a scene."""

    reason: str
    in_tension: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt: a scene, or why there is none.

    Attributes:
        said: for people: what was wrong, or what the model said of the goals.
    """

    number: int
    scene: EnvironmentRecord | None
    dropped: Dropped | None = None
    said: str = ""


class Known:
    """The scenes that a new one must not be like."""

    def __init__(self, written: Iterable[EnvironmentRecord]) -> None:
        own = (scene for split in ("train", "dev", "test") for scene in open_scenes(split))
        self._own = [sketches(scene) for scene in own]
        self._written = [sketches(scene) for scene in written]

    def add(self, scene: EnvironmentRecord) -> None:
        """Take in a scene that was written now."""
        self._written.append(sketches(scene))

    def like(self, scene: EnvironmentRecord) -> Dropped | None:
        """What the scene is a near-duplicate of, by all its words or by those of the scene."""
        if is_benchmark(scene):
            return "like one of SOTOPIA's 90 scenes"
        if _is_near(sketches(scene), self._own):
            return "like one of Parley's own scenes"
        return "like a scene in the file" if _is_near(sketches(scene), self._written) else None


@dataclass(frozen=True, slots=True)
class SceneWriter:
    """Asks a model for scenes.

    Attributes:
        seed: which topics and examples are drawn.
    """

    chat: Chat
    model: ModelConfig
    seed: int

    def id_of(self, number: int) -> str:
        """The id of the scene that attempt `number` gives."""
        return f"{self._prefix}{number:05d}"

    def first(self, written: Iterable[EnvironmentRecord]) -> int:
        """The attempt to go on with: behind those whose scenes were written."""
        ends = (s.env_id[len(self._prefix) :] for s in written if s.env_id.startswith(self._prefix))
        return max((int(end) + 1 for end in ends if end.isdecimal()), default=0)

    async def attempt(self, number: int, known: Known) -> Attempt:
        """Ask for a scene, look whether it is new, and ask whether its goals are in tension.

        Raises:
            BudgetError, ConfigError: from the chat model.
        """
        try:
            read = partial(read_scene, env_id=self.id_of(number), source=self.model.name)
            question = writing_request(self.model, self.seed, number)
            scene = (await ask_until_valid(self.chat, question, read, MAX_ASKS)).value
            if (dropped := known.like(scene)) is not None:
                return Attempt(number, None, dropped, scene.scenario)
            question = tension_request(self.model, scene)
            answer = await ask_until_valid(self.chat, question, read_tension, MAX_ASKS)
        except UnscoredError as error:
            return Attempt(number, None, "no reply that could be read", str(error))
        except RemoteError as error:
            return Attempt(number, None, "the model gave no answer", str(error))
        if not answer.value.in_tension:
            return Attempt(number, None, "no tension between the goals", answer.value.reason)
        return Attempt(number, scene, None, answer.value.reason)

    @property
    def _prefix(self) -> str:
        return f"invented-{self.seed}-"


def writing_request(model: ModelConfig, seed: int, number: int) -> ChatRequest:
    """The question for a scene: examples and a topic, drawn for this attempt."""
    rng = Random(f"parley-invent/1/{seed}/{number}")
    examples = rng.sample(open_scenes("train"), EXAMPLES)
    shown = "\n".join(json.dumps(_as_written(each), ensure_ascii=False) for each in examples)
    question = (
        f"{EXAMPLES} examples:\n{shown}\n\nWrite a scene that is like none of them. Let this topic "
        f"inspire you: {rng.choice(TOPICS)}."
    )
    return _request(model, _TASK, question, Written, temperature=model.temperature, seed=number)


def tension_request(model: ModelConfig, scene: EnvironmentRecord) -> ChatRequest:
    """The question whether a scene's goals are in tension."""
    written = _as_written(scene)
    shown = {key: written[key] for key in ("scenario", "goals", "extra_information")}
    temperature = None if model.temperature is None else 0.0
    question = json.dumps(shown, ensure_ascii=False, indent=1)
    return _request(model, _TENSION, question, Tension, temperature=temperature, seed=0)


def read_scene(text: str, *, env_id: str, source: str) -> EnvironmentRecord:
    """The scene in a reply.

    Raises:
        UnscoredError: it is not in order; the message says what is wrong, for the model to mend.
    """
    said = _read(text, Written)
    texts = (said.scenario, *said.goals, *said.extra_information)
    if not all(texts) or any(bracket in "".join(texts) for bracket in "<>"):
        raise UnscoredError("a text in it is empty, or has an angle bracket.")
    ages = zip(said.youngest, said.oldest, strict=True)
    goals = (
        f"{goal} (<extra_info>Extra information: {extra}</extra_info>)"
        for goal, extra in zip(said.goals, said.extra_information, strict=True)
    )
    make = partial(
        EnvironmentRecord,
        env_id=env_id,
        codename=env_id,
        source=f"written by {source}",
        scenario=said.scenario,
        agent_goals=tuple(goals),
        relationship=said.relationship,
        age_constraint=f"[{', '.join(f'({low}, {high})' for low, high in ages)}]",
        occupation_constraint=f"[{', '.join(said.occupations)}]" if any(said.occupations) else None,
    )
    return _checked(make)


def read_tension(text: str) -> Tension:
    """The answer about tension in a reply.

    Raises:
        UnscoredError: it is not in order.
    """
    return _read(text, Tension)


def scenes_in(file: Path) -> list[EnvironmentRecord]:
    """The scenes of a file that may not be there yet.

    Raises:
        DataError: it holds something else.
    """
    is_there = file.is_file() and file.stat().st_size > 0
    return read_jsonl(file, EnvironmentRecord) if is_there else []


def _as_written(scene: EnvironmentRecord) -> dict[str, Any]:
    """A scene in the form in which the model is to write."""
    parts = [found.groups() for goal in scene.agent_goals if (found := _GOAL.match(goal))]
    return {
        "scenario": scene.scenario,
        "goals": [goal for goal, _ in parts],
        "extra_information": [extra for _, extra in parts],
        "relationship": scene.relationship,
        "youngest": [18, 18],
        "oldest": [80, 80],
        "occupations": ["", ""],
    }


def _request(
    model: ModelConfig,
    task: str,
    question: str,
    reply: type[BaseModel],
    *,
    temperature: float | None,
    seed: int,
) -> ChatRequest:
    return ChatRequest(
        messages=(Message("system", task), Message("user", question)),
        temperature=temperature,
        max_tokens=model.max_tokens,
        seed=seed,
        schema=reply.model_json_schema(),
        purpose="scenes",
    )


def _read(text: str, kind: type[T]) -> T:
    fields = json.dumps(read_object(text))
    return _checked(lambda: kind.model_validate_json(fields))


def _checked(make: Callable[[], T]) -> T:
    try:
        return make()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        if fault["type"] == "extra_forbidden":  # whose name may be of any length
            raise UnscoredError("it has a key that was not asked for.") from error
        place = ".".join(map(str, fault["loc"])) or "it"
        raise UnscoredError(f"{place}: {fault['msg'][:200]}.") from error


def _is_near(scene: tuple[Sketch, Sketch], others: list[tuple[Sketch, Sketch]]) -> bool:
    return any(
        most_alike(own, (other[part] for other in others)) >= ALIKE
        for part, own in enumerate(scene)
    )
