"""From the options to where metrics go beside metrics.jsonl."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from envs.options import to_mapping
from training.config import RunConfig
from training.loggers import LOGGERS, Track


def logger_of(config: RunConfig, folder: Path) -> AbstractContextManager[Track]:
    """The configured logger, open for the length of a run.

    Args:
        folder: of the run.
    """
    spec = LOGGERS[config.logger.name]
    options = config.logger.options_for(spec)
    opened: AbstractContextManager[Track] = spec.make(options, folder, to_mapping(config))
    return opened
