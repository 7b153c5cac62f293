"""Files from the Hugging Face hub, named as hf://OWNER/DATASET or hf://OWNER/DATASET@REVISION."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.errors import ConfigError

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A data set on the hub; `revision` is a branch, a tag or a commit, None for the main one."""

    dataset: str
    revision: str | None


def is_on_hub(path: str) -> bool:
    """Whether a path names something on the hub and not a folder."""
    return path.startswith(SCHEME)


def read_address(path: str) -> Address:
    """What a path with hf:// names.

    Raises:
        ConfigError: it names no data set.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise ConfigError(
            f"{path!r} names no data set; expected {SCHEME}OWNER/DATASET, or with a revision "
            f"{SCHEME}OWNER/DATASET@REVISION."
        )
    return Address(match[1], match[2])


def fetch(path: str, names: Sequence[str]) -> Path:
    """The folder in the hub's cache that holds those files of a data set; downloads what is new.

    Raises:
        ConfigError: the hub does not answer and the files are not in the cache, or there is no
            such data set, revision or file.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    address = read_address(path)
    try:
        folder = snapshot_download(
            address.dataset,
            repo_type="dataset",
            revision=address.revision,
            allow_patterns=list(names),
        )
    except (OSError, ValueError, EntryNotFoundError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{path} could not be fetched ({type(error).__name__}: {said[:200]}); check the name "
            "and the connection, or give a folder that holds the files."
        ) from error
    missing = [name for name in names if not Path(folder, name).is_file()]
    if missing:
        raise ConfigError(
            f"{path} has no {', '.join(missing)}; expected a data set with {', '.join(names)} "
            "beside each other at its top."
        )
    return Path(folder)
