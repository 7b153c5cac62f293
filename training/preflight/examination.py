"""What works on this machine, and which command mends the rest: the findings of `parley doctor`."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from engines.precision import has_bfloat16
from envs.extras import extras, install, packages_of
from training.preflight.machine import free_memory, machine_memory
from training.preflight.packages import misplaced

State = Literal["works", "absent", "FAILS"]

GIB = 2**30
LEAST_MEMORY, LEAST_DISK = 3 * GIB, 2 * GIB
"""What the embedded model's training takes of both, with room."""

USERS_EXTRAS = ("api", "vllm", "gguf", "lora", "wandb", "ui")
"""Extras that add something to a run; the others are for those who change Parley."""

_ELSEWHERE = "python -m training.loop +experiment=sotopia_sdpo output_root=FOLDER"

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "WANDB_API_KEY")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: "absent" is no fault: it is something that can be added.
        advice: the command that mends or adds it; "" where nothing is to be done.
    """

    what: str
    state: State
    said: str
    advice: str = ""


def examine(output_root: Path) -> Iterator[Finding]:
    """Look at Python, torch, the machine, the extras and the keys.

    Args:
        output_root: where runs would be written.
    """
    yield _python()
    yield _packages()
    yield _torch()
    yield from _device()
    yield _memory()
    yield _disk(output_root)
    for extra in USERS_EXTRAS:
        if extra in extras():
            yield _extra(extra)
    yield _keys()


def _python() -> Finding:
    said = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Finding("Python", "works", said)
    wanted = f"{said}; 3.11, 3.12 or 3.13 is needed"
    return Finding("Python", "FAILS", wanted, "python3.12 -m venv .venv")


def _packages() -> Finding:
    if (sentence := misplaced()) is not None:
        return Finding("packages", "FAILS", sentence, "cd into another folder")
    return Finding("packages", "works", f"ours, from {Path(__file__).resolve().parents[2]}")


def _torch() -> Finding:
    import torch
    import transformers

    said = f"{torch.__version__}, transformers {transformers.__version__}"
    return Finding("torch", "works", said)


def _device() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    speed = "computes in bfloat16" if has_bfloat16("cpu") else "float32 alone is fast"
    yield Finding("CPU", "works", f"{cores} cores, {torch.get_num_threads()} threads; {speed}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            room = found.total_memory / GIB
            yield Finding("GPU", "works", f"{found.name}, {room:.0f} GiB: choose scale=gpu")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "absent", "Apple's is not used; small models train on the CPU")
    else:
        build = "torch is a CPU build" if torch.version.cuda is None else "no driver or no device"
        yield Finding("GPU", "absent", f"{build}; small models train on the CPU")


def _memory() -> Finding:
    total, free = machine_memory(), free_memory()
    said = f"{total / GIB:.1f} GiB" + (f", {free / GIB:.1f} free" if free is not None else "")
    if (total if free is None else free) >= LEAST_MEMORY:
        return Finding("memory", "works", said)
    return Finding("memory", "FAILS", f"{said}; {LEAST_MEMORY // GIB} are needed")


def _disk(output_root: Path) -> Finding:
    there = output_root.resolve()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    said = f"{free / GIB:.1f} GiB free for {output_root}"
    if not os.access(there, os.W_OK):
        return Finding("disk", "FAILS", f"{there} cannot be written to", _ELSEWHERE)
    if free < LEAST_DISK:
        return Finding("disk", "FAILS", f"{said}; {LEAST_DISK // GIB} are needed", _ELSEWHERE)
    return Finding("disk", "works", said)


def _extra(extra: str) -> Finding:
    names = [re.split(r"[^\w.-]", package)[0] for package in packages_of(extra)]
    found: list[str] = []
    missing: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            # vLLM's CPU builds have names of their own.
            is_there = importlib.util.find_spec(name.replace("-", "_")) is not None
            (found if is_there else missing).append(name)
    if missing:
        return Finding(f"extra {extra}", "absent", f"no {', '.join(missing)}", install(extra))
    return Finding(f"extra {extra}", "works", ", ".join(found))


def _keys() -> Finding:
    given = [name for name in KEYS if os.environ.get(name)]
    said = f"{', '.join(given)} set" if given else "none set; models behind APIs need one"
    return Finding("keys", "works" if given else "absent", said)
