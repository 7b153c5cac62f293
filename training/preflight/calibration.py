"""What the calibration of a judge needs before it starts."""

from __future__ import annotations

from pathlib import Path

from envs.errors import ConfigError
from training.config import CalibrationConfig, RunConfig
from training.evaluation.calibration_sources import files_of
from training.preflight.checks import check_output, check_packages, check_resume
from training.preflight.endpoints import check_calls
from training.storage.hub import SCHEME, is_on_hub, read_address


def check_before_calibration(config: RunConfig) -> None:
    """Check what the calibration of a judge needs on this machine.

    Raises:
        ConfigError: nothing to measure against was named or is there, or nothing can be written.
    """
    check_packages()
    wanted = config.calibration
    if not wanted.episodes and not wanted.casino:
        raise ConfigError(
            "There is nothing to measure the judge against; set calibration.episodes above 0, or "
            "calibration.casino to a folder with CaSiNo's files."
        )
    if wanted.episodes and config.env.has_scenes:
        raise ConfigError(
            f"Scripted experts cannot play the scenes of {' and '.join(config.env.names)}; choose "
            "env=families, or set calibration.episodes=0."
        )
    if wanted.casino:
        _check_casino(wanted)
    check_calls(config)
    if config.resume is not None:
        check_resume(config.resume)
    check_output(config.output_root)


def _check_casino(wanted: CalibrationConfig) -> None:
    if is_on_hub(wanted.casino):
        read_address(wanted.casino)
        return
    missing = [name for name in files_of(wanted.split) if not Path(wanted.casino, name).is_file()]
    if missing:
        raise ConfigError(
            f"calibration.casino is {wanted.casino!r}, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there; give the folder with CaSiNo's "
            f"files, or {SCHEME}OWNER/DATASET for a data set that holds them."
        )
