"""Files as sources of demonstrations: stores of runs, SOTOPIA's episode logs, ShareGPT's form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from envs.errors import ConfigError, DataError
from envs.options import NonNegative, Share
from envs.scenarios.episode_logs import is_episode_log, read_episode_logs
from envs.scenarios.likeness import ALIKE, Sketch, most_alike, sketch
from envs.scenarios.markup import seen_by_all
from envs.scenarios.open_ended import OPEN, open_scenes, read_scenes, scene_split
from envs.scenarios.records import read_values
from training.config.play import EnvConfig
from training.learning.demonstrations import message_row
from training.learning.sources.base import DEMONSTRATE, SURPLUS, Demonstrations, Stage0
from training.learning.sources.limits import Dialogue, Limits, checked, dialogue_of, select
from training.methods.sources import source
from training.storage.run_files import STORE
from training.storage.store import Store

Records = list[tuple[str, object]]
"""What a file holds, each behind the place where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions(Limits):
    """Dialogues of a file or of another run; of ShareGPT's form no goals, acts or words are known.

    Attributes:
        path: the folder of a run, whose training scenes are taken from its store; or a .json or
            .jsonl file of SOTOPIA's episode logs, or of conversations in the ShareGPT form.
    """

    path: str
    max_invalid_share: Share = 1.0
    min_words: NonNegative = 0.0


@source("file")
def file(options: FileOptions, stage: Stage0) -> Demonstrations:
    """Dialogues of another run's store, of SOTOPIA's episode logs, or in the ShareGPT form."""
    place = file_of(options.path)
    if place.name == STORE:
        found = select(_stored(place), options, stage)
    elif (records := read_values(place)) and is_episode_log(records[0][1]):
        found = _from_logs(records, options, stage)
    else:
        found = _from_share_gpt(records, options, stage)
    return checked(found, options, f"{found.read} dialogues of {place}", stage)


def file_of(path: str) -> Path:
    """The file that `demonstrations.path` names.

    Raises:
        ConfigError: there is none.
    """
    place = Path(path, STORE) if Path(path).is_dir() else Path(path)
    if not place.is_file() or place.suffix not in (".json", ".jsonl", Path(STORE).suffix):
        raise ConfigError(
            f"demonstrations.path is {path!r}, expected the folder of a run (with {STORE}), or a "
            "file that ends in .json or .jsonl: SOTOPIA's episode logs, or conversations in the "
            "ShareGPT form."
        )
    return place


def _stored(place: Path) -> list[Dialogue]:
    """All whole episodes of a run."""
    with Store.read_only(place) as store:
        phases = {
            (key.phase, key.iteration): None for key in store.waves()
            if key.phase in ("collect", DEMONSTRATE) or key.phase.startswith("evaluate")
        }  # fmt: skip
        return [dialogue_of(one) for phase in phases for one in store.episodes(*phase)]


def _from_logs(records: Records, limits: Limits, stage: Stage0) -> Demonstrations:
    logs, env = read_episode_logs(records), stage.config.env
    held_out = list(_held_out_scenes(env))
    dialogues = []
    for one in logs.dialogues:
        scenario = one.scenario
        if env.train_on_benchmark:
            scenario = replace(scenario, split="train")
        if most_alike(sketch(scenario.context), held_out) >= ALIKE:
            scenario = replace(scenario, split="test")
        dialogues.append(Dialogue(scenario, one.turns, one.goals))
    found = select(dialogues, limits, stage)
    found.read = logs.read
    for reason, count in logs.left_out.items():
        found.dropped[reason] += 2 * count
    return found


def _held_out_scenes(env: EnvConfig) -> Iterator[Sketch]:
    """The scenes of the run that are for measuring."""
    records = [
        record for record in (read_scenes(env.scene_file) if env.scene_file is not None else ())
        if scene_split(record) != "train"
    ]  # fmt: skip
    if env.scene_file is None and OPEN in env.names:
        records = [*open_scenes("dev"), *open_scenes("test")]
    for record in records:
        yield sketch(seen_by_all(record.scenario))


class _Said(BaseModel):
    """One message of a conversation."""

    sender: Literal["system", "human", "user", "gpt", "assistant"] = Field(validation_alias="from")
    value: str


class _Conversation(BaseModel):
    """One conversation of a ShareGPT file."""

    conversations: list[_Said]


def _from_share_gpt(records: Records, limits: Limits, stage: Stage0) -> Demonstrations:
    found = Demonstrations()
    for where, values in records:
        found.read += 1
        said = [(message.sender, message.value) for message in _conversation(where, values)]
        row = message_row(said, stage.template)
        if row is None:
            found.dropped["were no system message, then human and gpt in turn"] += 1
        elif found.dialogues == stage.config.cloning.dialogues:
            found.dropped[SURPLUS] += 1
        else:
            limits.take(found, [row])
    return found


def _conversation(where: str, values: object) -> list[_Said]:
    try:
        return _Conversation.model_validate(values).conversations
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the record"
        raise DataError(
            f"{where} cannot be read (field {field!r}: {first['msg']}); expected one of SOTOPIA's "
            'episode logs, or an object with a key "conversations": a list of {"from": "system", '
            '"human" or "gpt", "value": text}.'
        ) from error
