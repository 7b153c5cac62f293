"""SOTOPIA's file formats: a pydantic model for each kind of record, and readers of the files.

Field names are SOTOPIA's (arXiv 2310.11667); the open scenarios and the characters use them too.
Errors name file, line and field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from envs.errors import DataError, quoted
from envs.scenarios.markup import check_markup
from envs.types import Profile, Relationship

OLDEST: Final = 130
"""The highest plausible age in years; a higher one is an error in the data."""

_AGES: Final = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)")

Record = TypeVar("Record", bound="Strict")


def _whole(value: object) -> object:
    # SOTOPIA's files hold the relationship as text ("3"), its hub copy as a number.
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Level = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=0, le=max(Relationship))]
Id = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """A record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvironmentRecord(Strict):
    """A scenario: the public scene, each seat's private goal, how well the seats know each other.

    The constraints say which characters fit; the files' combinations already respect them.
    """

    env_id: Id = Field(validation_alias=AliasChoices("env_id", "pk"))
    codename: str = ""
    source: str = ""
    scenario: str = Field(min_length=1)
    agent_goals: tuple[str, ...] = Field(min_length=2)
    relationship: Level
    age_constraint: str | None = None
    occupation_constraint: str | None = None
    agent_constraint: Any = None

    @field_validator("age_constraint")
    @classmethod
    def _ages_rise(cls, value: str | None) -> str | None:
        for low, high in _AGES.findall(value or ""):
            if not int(low) <= int(high) <= OLDEST:
                raise ValueError(f"the ages {low} to {high} are no range up to {OLDEST}")
        return value

    @field_validator("scenario")
    @classmethod
    def _scene_markup(cls, value: str) -> str:
        return check_markup(value)

    @field_validator("agent_goals")
    @classmethod
    def _goal_markup(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_markup, value))


class AgentRecord(Strict):
    """A character."""

    agent_id: Id = Field(validation_alias=AliasChoices("agent_id", "pk"))
    first_name: str = Field(min_length=1)
    last_name: str = ""
    age: int = Field(ge=0, le=OLDEST)
    occupation: str = ""
    gender: str = ""
    gender_pronoun: str = ""
    public_info: str = ""
    big_five: str = ""
    moral_values: tuple[str, ...] = ()
    schwartz_personal_values: tuple[str, ...] = ()
    personality_and_values: str = ""
    decision_making_style: str = ""
    secret: str = ""
    mbti: str = ""

    def profile(self) -> Profile:
        """The character as a `Profile`."""
        same = set(type(self).model_fields) & {field.name for field in fields(Profile)}
        values = self.model_dump(include=same) | {
            "moral_values": tuple(value.strip() for value in self.moral_values),
            "schwartz_personal_values": tuple(v.strip() for v in self.schwartz_personal_values),
        }
        return Profile(**values, pronoun=self.gender_pronoun, id=self.agent_id)


class RelationshipRecord(Strict):
    """The relationship of two characters."""

    relationship_id: Id = Field(validation_alias=AliasChoices("relationship_id", "pk"))
    agent1_id: Id = Field(validation_alias=AliasChoices("agent1_id", "agent_1_id"))
    agent2_id: Id = Field(validation_alias=AliasChoices("agent2_id", "agent_2_id"))
    relationship: Level
    background_story: str | None = None


class ComboRecord(Strict):
    """A scenario with the characters that play it, in seat order."""

    combo_id: Id = Field(validation_alias=AliasChoices("combo_id", "pk"))
    env_id: Id
    agent_ids: tuple[str, ...] = Field(min_length=2)


def read_jsonl(path: Path, model: type[Record]) -> list[Record]:
    """Read a file with one JSON object a line; record n is line n.

    Raises:
        DataError: the file cannot be read, or a line is not such a record.
    """
    return [
        parsed(_json(line, where), model, where)
        for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), start=1)
        if (where := place(path, number))
    ]


def read_json_list(path: Path, model: type[Record]) -> list[Record]:
    """Read a file that is one JSON list.

    Raises:
        DataError: the file cannot be read, or an entry is not such a record.
    """
    return [parsed(entry, model, where) for where, entry in _entries(path)]


def read_values(path: Path) -> list[tuple[str, object]]:
    """Every record of a file, behind where it stands: entries of a .json list, else JSON lines.

    Raises:
        DataError: the file cannot be read, or is no JSON of that form; names the line.
    """
    if path.suffix == ".json":
        return _entries(path)
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [
        (where, _json(line, where))
        for number, line in lines
        if line.strip() and (where := place(path, number))
    ]


def _entries(path: Path) -> list[tuple[str, object]]:
    values = _json(read_text(path), f"{path}")
    if not isinstance(values, list):
        raise DataError(f"{path} holds a JSON {type(values).__name__}, expected a list.")
    return [(place(path, number), value) for number, value in enumerate(values, start=1)]


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        DataError: there is no such file, it is a device or a pipe, or it is not UTF-8.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading it might never end
        raise DataError(f"{path} is a device or a pipe, expected a file; name a file.")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; expected it there.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def place(path: Path, number: int) -> str:
    """The location of record `number`, from 1: a line of JSON lines, or an entry of a JSON list."""
    return f"{path}, {'entry' if path.suffix == '.json' else 'line'} {number}"


def parsed(values: object, model: type[Record], where: str) -> Record:
    """Validate `values` as a record.

    Raises:
        DataError: what was found `where` is not one; names the first field that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the record"
        raise DataError(
            f"{where}, field {quoted(field)}: got {quoted(first['input'])}; {first['msg'][:200]}."
        ) from error


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: got text that is not JSON ({error}).") from error


def check_unique(ids: Sequence[str], path: Path) -> None:
    """Check that no id is used twice.

    Raises:
        DataError: one is.
    """
    seen: set[str] = set()
    for number, name in enumerate(ids, start=1):
        if name in seen:
            raise DataError(f"{place(path, number)}: the id {quoted(name)} is used twice.")
        seen.add(name)
