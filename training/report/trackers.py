"""Where metrics go beside metrics.jsonl: nowhere, or Weights & Biases (offline too)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from envs.errors import ConfigError
from training.config import RunConfig
from training.storage.run import Run

Track = Callable[[int, Mapping[str, Any]], None]
"""Called with the iteration and its metrics."""


@contextmanager
def tracker(config: RunConfig, run: Run) -> Iterator[Track]:
    """Open the configured tracker for the length of a run."""
    if config.logger.name == "jsonl":
        yield lambda iteration, metrics: None
        return
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            "logger=wandb needs the package wandb, which is not installed; "
            "run: pip install 'parley-rl[wandb]'"
        ) from error
    session = wandb.init(
        project=config.logger.project,
        mode=config.logger.mode,
        dir=str(run.folder),
        name=run.folder.name,
        config=asdict(config),
    )
    try:
        yield lambda iteration, metrics: session.log(flat(metrics), step=iteration)
    finally:
        session.finish()


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
