"""What this machine has: its memory, within the limits that are set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")
"""Where control groups of version 2 and 1 keep the limit."""


def machine_memory(root: Path = Path("/")) -> float:
    """Bytes of memory that this process may have: the machine's, or a container's limit."""
    return min(
        [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")), *_group_limits(root)]
    )


def free_memory(root: Path = Path("/")) -> float | None:
    """Bytes that are free now, or could be freed at once; None where the system does not tell."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kib = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(kib[0]) if kib else None


def _group_limits(root: Path) -> Iterator[float]:
    """Limits of this process's control groups and of those around them."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            for name in _LIMIT_FILES:
                if (folder / name).is_file() and (text := (folder / name).read_text()).strip():
                    yield float("inf") if text.strip() == "max" else float(text)
            if folder == top:
                break
