"""The command `python -m judges.calibrate judge=NAME`: how good is a judge?

The only module outside `training` that imports it: a command, which nothing else imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.config import RunConfig


def _work(config: RunConfig) -> None:
    from training.calibrate import calibrate_judge

    calibrate_judge(config)


def _preview(config: RunConfig) -> None:
    from training.preflight.cost import print_cost_estimate
    from training.preflight.workload import calibration_workload

    print_cost_estimate(config, calibration_workload)


if __name__ == "__main__":
    from training.cli.help import LEARNING, HelpPage
    from training.cli.run import Command, run
    from training.preflight.calibration import check_before_calibration

    page = HelpPage(
        module="judges.calibrate",
        summary="Measures how well a judge agrees with labels and with itself.",
        examples={
            "judge=rubric calibration.casino=FOLDER": "against what people said in CaSiNo",
            "judge=rubric dry_run=true": "what the calls would cost",
        },
        without=LEARNING | {"policy", "partner", "engine", "evaluation", "scale", "invent"},
    )
    run(Command(page=page, work=_work, check=check_before_calibration, preview=_preview))
