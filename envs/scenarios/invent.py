"""The command `python -m envs.scenarios.invent`: a model writes new open scenes into a file.

    python -m envs.scenarios.invent invent.model.name=NAME invent.count=50 invent.out=FILE.jsonl

The only module of `envs` that imports `training`: a command, which nothing else imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.config import RunConfig


def _work(config: RunConfig) -> None:
    from training.invent import invent_scenes

    invent_scenes(config)


if __name__ == "__main__":
    from training.cli.help import LEARNING, HelpPage
    from training.cli.run import Command, run
    from training.preflight.invention import check_before_invention, print_invention_estimate

    page = HelpPage(
        module="envs.scenarios.invent",
        summary="Lets a model write new open scenes into a file.",
        examples={
            "invent.model.name=NAME invent.count=50 invent.out=FILE.jsonl": "50 scenes",
        },
        without=LEARNING
        | {"policy", "partner", "engine", "evaluation", "scale", "env", "judge", "calibration"},
    )
    check, preview = check_before_invention, print_invention_estimate
    run(Command(page=page, work=_work, check=check, preview=preview))
