"""Files as sources of demonstrations: stores of runs, and conversations in the ShareGPT form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from envs.errors import ConfigError, DataError
from training.learning.demonstrations import message_row
from training.learning.sources.base import Demonstrations, Stage0, some
from training.learning.sources.limits import Goal, Limits, from_episodes
from training.methods.sources import source
from training.storage.run_files import STORE
from training.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """Dialogues of a file or of another run.

    Attributes:
        path: the folder of a run, whose training scenes are taken from its store; or a .json or
            .jsonl file of conversations in the ShareGPT form.
        min_goal: of a run: a seat that reached less is left out, 0 to 10.
    """

    path: str
    min_goal: Goal = 7.0


@source("file")
def file(options: FileOptions, stage: Stage0) -> Demonstrations:
    """Dialogues of another run's store, or conversations of a file in the ShareGPT form."""
    place = file_of(options.path)
    if place.name != STORE:
        return some(_from_share_gpt(place, stage), f"the conversations of {place}", stage)
    with Store.read_only(place) as store:
        phases = {
            (key.phase, key.iteration): None for key in store.waves()
            if key.phase == "collect" or key.phase.startswith("evaluate")
        }  # fmt: skip
        played = [one for phase in phases for one in store.episodes(*phase)]
    found = from_episodes(played, Limits(options.min_goal), stage)
    return some(found, f"{len(played)} dialogues of {place}", stage)


def file_of(path: str) -> Path:
    """The file that `demonstrations.path` names.

    Raises:
        ConfigError: there is none.
    """
    place = Path(path, STORE) if Path(path).is_dir() else Path(path)
    if not place.is_file() or place.suffix not in (".json", ".jsonl", Path(STORE).suffix):
        raise ConfigError(
            f"demonstrations.path is {path!r}, expected the folder of a run (with {STORE}), or a "
            "file of conversations in the ShareGPT form that ends in .json or .jsonl."
        )
    return place


class _Said(BaseModel):
    """One message of a conversation."""

    sender: Literal["system", "human", "user", "gpt", "assistant"]
    value: str


class _Conversation(BaseModel):
    """One conversation of a ShareGPT file; "from" is renamed, since it is a word of Python."""

    conversations: list[_Said]


_CONVERSATIONS = TypeAdapter(list[_Conversation])


def _from_share_gpt(place: Path, stage: Stage0) -> Demonstrations:
    found = Demonstrations()
    for conversation in _read_share_gpt(place):
        said = [(message.sender, message.value) for message in conversation.conversations]
        row = message_row(said, stage.template)
        if row is None:
            found.dropped["were no system message, then human and gpt in turn"] += 1
        elif found.kept == stage.config.cloning.dialogues:
            found.dropped["were more than cloning.dialogues"] += 1
        else:
            found.rows.append(row)
            found.kept += 1
    return found


def _read_share_gpt(place: Path) -> list[_Conversation]:
    text = place.read_text(encoding="utf-8")
    try:
        lines = text.splitlines()
        told = [json.loads(x) for x in lines if x] if place.suffix == ".jsonl" else json.loads(text)
        return _CONVERSATIONS.validate_python(list(_renamed(told)))
    except (ValueError, TypeError, AttributeError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{place} cannot be read ({said}); expected a list of objects with a key "
            '"conversations": a list of {"from": "system", "human" or "gpt", "value": text}.'
        ) from error


def _renamed(told: list[dict[str, list[dict[str, str]]]]) -> Iterator[dict[str, object]]:
    for one in told:
        yield {"conversations": [
            {"sender": said.get("from"), "value": said.get("value")}
            for said in one.get("conversations", [])
        ]}  # fmt: skip
