"""Downloads data sets and models from the Hugging Face hub: hf://OWNER/NAME[@REVISION]."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envs.errors import ConfigError, in_one_line, quoted

SCHEME = "hf://"
MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""The files of a model and its tokenizer; weights in other formats are not downloaded."""

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A repository on the hub.

    Attributes:
        revision: a branch, a tag or a commit; None for the main branch.
    """

    name: str
    revision: str | None


def is_on_hub(path: str) -> bool:
    """Whether a path is an address on the hub rather than a local folder."""
    return path.startswith(SCHEME)


def read_address(path: str) -> Address:
    """Parse a hub address.

    Raises:
        ConfigError: it is malformed.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise ConfigError(
            f"{quoted(path)} names nothing on the hub; expected {SCHEME}OWNER/NAME, or with a "
            f"revision {SCHEME}OWNER/NAME@REVISION."
        )
    return Address(match[1], match[2])


def fetch(path: str, names: Sequence[str]) -> Path:
    """Download files of a data set, unless they are cached, and return the folder with them.

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
    """Download a model, unless it is cached, and return its folder.

    Args:
        patterns: globs of the files to download; config.json always is.

    Raises:
        ConfigError: as for `fetch`.
    """
    folder = _snapshot(path, ("config.json", *patterns), "model")
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ConfigError(
            f"{path} has no config.json; expected a model for transformers, or an adapter of one. "
            "To use a GGUF file, download it and name the file."
        )
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
        raise ConfigError(
            f"{path} could not be fetched ({type(error).__name__}: {in_one_line(error)}); check "
            "the name and the connection, or give a folder that holds the files."
        ) from error
    return Path(folder)
