"""The command `python -m judges.calibrate judge=NAME`: measure how good a judge is.

It is the only module outside `training` that imports `training`; nothing imports it.
"""

from __future__ import annotations

if __name__ == "__main__":
    from training.cli.run import run
    from training.preflight.calibration import check_before_calibration

    run(
        "training.calibrate:calibrate_judge",
        check_before_calibration,
        "training.preflight.workload:calibration_workload",
    )
