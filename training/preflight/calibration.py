"""Checks what the calibration of a judge needs, before it starts."""

from __future__ import annotations

from pathlib import Path

from envs.errors import ConfigError
from training.config import CalibrationConfig, RunConfig
from training.evaluation.calibration_sources import casino_files
from training.preflight.checks import check_output, check_resume
from training.preflight.endpoints import check_calls
from training.storage.hub import SCHEME, is_on_hub, read_address


def check_before_calibration(config: RunConfig) -> None:
    """Check that there is something to measure the judge against, and that calls and output work.

    Raises:
        ConfigError: no labelled episodes are named or found, or something else is missing.
    """
    options = config.calibration
    if not options.episodes and not options.casino:
        raise ConfigError(
            "There is nothing to measure the judge against; set calibration.episodes above 0, or "
            "calibration.casino to a folder with CaSiNo's files."
        )
    if options.episodes and config.env.has_scenes:
        raise ConfigError(
            f"Scripted experts cannot play the scenes of {' and '.join(config.env.names)}; choose "
            "env=families, or set calibration.episodes=0."
        )
    if options.casino:
        _check_casino(options)
    check_calls(config)
    if config.resume is not None:
        check_resume(config.resume)
    check_output(config.output_root)


def _check_casino(options: CalibrationConfig) -> None:
    if is_on_hub(options.casino):
        read_address(options.casino)
        return
    missing = [
        name for name in casino_files(options.split) if not Path(options.casino, name).is_file()
    ]
    if missing:
        raise ConfigError(
            f"calibration.casino is {options.casino!r}, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there; give the folder with CaSiNo's "
            f"files, or {SCHEME}OWNER/DATASET for a data set that holds them."
        )
