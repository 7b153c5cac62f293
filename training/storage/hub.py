"""Files from the Hugging Face hub, named as hf://OWNER/NAME or hf://OWNER/NAME@REVISION."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envs.errors import ConfigError

SCHEME = "hf://"
MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What it takes to load a model and its tokenizer; weights in other formats stay where they are."""

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A place on the hub; `revision` is a branch, a tag or a commit, None for the main one."""

    name: str
    revision: str | None


def is_on_hub(path: str) -> bool:
    """Whether a path names something on the hub and not a folder."""
    return path.startswith(SCHEME)


def read_address(path: str) -> Address:
    """What a path with hf:// names.

    Raises:
        ConfigError: it names nothing.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise ConfigError(
            f"{path!r} names nothing on the hub; expected {SCHEME}OWNER/NAME, or with a revision "
            f"{SCHEME}OWNER/NAME@REVISION."
        )
    return Address(match[1], match[2])


def fetch(path: str, names: Sequence[str]) -> Path:
    """The folder in the hub's cache that holds those files of a data set; downloads what is new.

    Raises:
        ConfigError: the hub does not answer and the files are not in the cache, or there is no
            such data set, revision or file.
    """
    folder = _snapshot(path, names, "dataset")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{path} has no {', '.join(missing)}; expected a data set with {', '.join(names)} "
            "beside each other at its top."
        )
    return folder


def fetch_model(path: str, patterns: Sequence[str] = MODEL_FILES) -> Path:
    """The folder in the hub's cache that holds a model; downloads what is new.

    Args:
        patterns: of the files that are wanted; config.json comes in any case.

    Raises:
        ConfigError: as `fetch`.
    """
    folder = _snapshot(path, ("config.json", *patterns), "model")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{path} has no config.json; expected a model for transformers.")
    return folder


def _snapshot(path: str, patterns: Sequence[str], kind: Literal["dataset", "model"]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    address = read_address(path)
    try:
        folder = snapshot_download(
            address.name,
            repo_type=kind,
            revision=address.revision,
            allow_patterns=list(patterns),
        )
    except (OSError, ValueError, EntryNotFoundError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{path} could not be fetched ({type(error).__name__}: {said[:200]}); check the name "
            "and the connection, or give a folder that holds the files."
        ) from error
    return Path(folder)
