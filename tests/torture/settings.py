"""The small runs that are tormented: each takes seconds and goes another way through the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.training.quick import SMALL_RUN

_TRAINING = (
    *(*SMALL_RUN, "iterations=2", "branch.points=6", "branch.continuations=3"),
    *("evaluation.scenarios=4", "evaluation.curve_scenarios=2"),
    *("evaluation.every=1", "evaluation.stubborn_bias=null"),
)
_SHORT = (
    *("collect.episodes=6", "branch.points=3", "branch.continuations=2"),
    *("evaluation.scenarios=2", "evaluation.curve_scenarios=0"),
)
_EVALUATION = (
    *("policy=embedded", "partner=server", "judge=hybrid", "threads=1"),
    *("evaluation.scenarios=12", "env.wave=4", "api.concurrency=16"),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A small run.

    Attributes:
        words: its options on the command line.
        command: the module that is run.
        is_served: whether a server on loopback plays the partner and judges.
        needs: a package without which it cannot be run.
    """

    name: str
    words: tuple[str, ...]
    command: str = "training.loop"
    is_served: bool = False
    needs: str | None = None


def _training(name: str, experiment: str, *more: str) -> Setting:
    return Setting(name, (f"+experiment=sotopia_{experiment}", *_TRAINING, *more))


SETTINGS: Sequence[Setting] = (
    _training("sdpo", "sdpo", "pairing.margin=0.1"),
    _training("short sdpo", "sdpo", "pairing.margin=0", *_SHORT),
    _training("sppo, overlapped", "sppo", "schedule=overlapped"),
    _training("bco", "bco"),
    _training("beta-dpo", "beta_dpo"),
    _training("average reference", "sppo", "reference=average"),
    _training("iterative dpo", "iterative_dpo"),
    Setting("evaluation", _EVALUATION, command="training.evaluate", is_served=True),
    Setting(
        "vllm",
        (*("+experiment=sotopia_sdpo", *_TRAINING), "engine=vllm", "engine.kv_cache_gib=0.1"),
        needs="vllm",
    ),
)
"""BCO and beta-DPO carry a moving state from update to update, which a resume must bring back."""
