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
    from training.cli.run import Command, run
    from training.preflight.invention import check_before_invention, print_invention_estimate

    run(Command(work=_work, check=check_before_invention, preview=print_invention_estimate))
