"""The machine's memory: what the system says, unless a container's limit is lower."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.preflight.machine import free_memory, machine_memory

WHOLE = machine_memory(Path("/nowhere"))


def group(root: Path, line: str, limits: dict[str, str]) -> Path:
    """A system whose process is in a control group with these limits."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line + "\n")
    for name, text in limits.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("line", "limits", "bytes_there"),
    [
        ("0::/", {"memory.max": "1000000"}, 1e6),
        ("0::/box/run", {"box/memory.max": "2000000", "box/run/memory.max": "max"}, 2e6),
        ("4:memory:/box", {"memory/box/memory.limit_in_bytes": "3000000"}, 3e6),
        ("4:memory:/box", {"memory/box/memory.limit_in_bytes": str(2**63)}, WHOLE),
        ("7:pids:/box", {"pids/box/memory.max": "1"}, WHOLE),
        ("0::/", {}, WHOLE),
    ],
)
def test_the_lowest_limit_counts(
    line: str, limits: dict[str, str], bytes_there: float, tmp_path: Path
) -> None:
    assert machine_memory(group(tmp_path, line, limits)) == bytes_there


def test_free_memory_is_what_the_system_says(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    5 kB\n")
    assert free_memory(tmp_path) == 5 * 1024
