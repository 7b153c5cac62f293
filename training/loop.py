"""The training loop, from cloned behaviour to the last evaluated policy.

python -m training.loop +experiment=sotopia_sdpo
"""

from __future__ import annotations

from training.cli import run

if __name__ == "__main__":
    run("training.loop:train")  # checks all options, and only then imports what is below

from training.config import RunConfig


def train(config: RunConfig) -> None:
    """Collect, score, branch, pair, update, evaluate, checkpoint; again and again."""
    raise NotImplementedError  # the loop goes here
