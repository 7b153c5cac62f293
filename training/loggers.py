"""Where metrics go beside metrics.jsonl, which every run writes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from envs.errors import ConfigError
from envs.extras import install
from envs.registry import Component, NoOptions, Registry

Track = Callable[[int, Mapping[str, Any]], None]
"""Called with the iteration and its metrics."""

LOGGERS: Registry[Component] = Registry("logger", group="loggers", modules=["training.loggers"])
"""All loggers by name: context managers (options, run's folder, its options as a mapping)."""

L = TypeVar("L", bound=Callable[..., AbstractContextManager[Track]])


def logger(name: str) -> Callable[[L], L]:
    """Register a logger by its name."""
    return LOGGERS.registers(Component, name)


@logger("jsonl")
@contextmanager
def jsonl(options: NoOptions, folder: Path, config: Mapping[str, Any]) -> Iterator[Track]:
    """Nowhere else."""
    yield lambda iteration, metrics: None


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbOptions:
    """Weights & Biases.

    Attributes:
        project: of the account.
        mode: "offline" keeps everything in the run's folder.
    """

    project: str
    mode: Literal["offline", "online"]


@logger("wandb")
@contextmanager
def wandb(options: WandbOptions, folder: Path, config: Mapping[str, Any]) -> Iterator[Track]:
    """Weights & Biases, offline too."""
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            f"logger=wandb needs the package wandb, which is not installed; run: {install('wandb')}"
        ) from error
    session = wandb.init(
        project=options.project,
        mode=options.mode,
        dir=str(folder),
        name=folder.name,
        config=dict(config),
        id=_id_of(folder),
        resume="allow",
    )
    try:
        yield lambda iteration, metrics: session.log(flat(metrics), step=iteration)
    finally:
        session.finish()


def _id_of(folder: Path) -> str:
    """The run's id there, kept in its folder, so that it goes on under it when it is resumed."""
    file = folder / "wandb-id"
    if not file.is_file():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics as "a/b/c" -> number; of an interval the mean."""
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            if "ci95" in value:
                value = value["mean"]
            else:
                numbers |= flat(value, f"{prefix}{name}/")
        if isinstance(value, int | float):
            numbers[f"{prefix}{name}"] = value
    return numbers
