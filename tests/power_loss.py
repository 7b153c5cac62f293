"""Power loss, simulated: what a program does to a folder, and the disks a loss could leave of it.

    journal = record([sys.executable, "-m", "training.loop", ...], folder)
    for cut in journal.cuts(between=20):
        journal.disk_after(cut, seed, into_folder)

A program runs with a library (power_loss.c) that writes down, in order, each write, truncation,
new name, renaming and removal below a folder, and each wait for the disk (fsync, fdatasync).
Whatever was not waited for may be on the disk or not, each piece for itself:

* of a file, any of its sectors of 512 bytes, each as it was after any write since the last sync,
  and the file's size likewise: it may be empty, short, or have zeros where nothing arrived;
* of a folder that was not synced itself, any of its changes, but those of one name in their order.
  A renamed file may have its new name and no content, or its content and no name.

That is what POSIX promises; file systems in use lose less.
"""

from __future__ import annotations

import ctypes
import os
import platform
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

SECTOR: Final = 512
ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = Path(__file__).with_suffix(".c")

_HEAD: Final = struct.Struct("=8sQqQQQ")
"""`struct record` of power_loss.c: kind, inode, offset, and the sizes of two paths and of data."""

MISSING: Final = (
    "it knows Linux on x86-64 and aarch64 only"
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64")
    else "there is no C compiler, `cc`"
    if shutil.which("cc") is None  # where there is one, these tests run
    else ""
)
needs_simulator = pytest.mark.skipif(bool(MISSING), reason=f"power loss: {MISSING}")
"""For tests that call `record`."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes are written into a file."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file is cut, or prolonged with zeros."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A program waits until a file's content, or a folder's entries, are on disk."""

    node: int


@dataclass(frozen=True, slots=True)
class Rename:
    """Entries of folders change, all at once.

    Attributes:
        entries: what each name of a folder (its node, the name) stands for then; None for nothing.
    """

    entries: Mapping[tuple[int, str], int | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """The program has been told, or tells, that something is done; see `mark`."""

    text: str


Operation = Write | Resize | Sync | Rename | Mark


class Kept(Enum):
    """The two ends of what a loss may leave; a seed gives something in between."""

    SYNCED = "nothing but what was waited for"
    WRITTEN = "everything"


@dataclass(frozen=True, slots=True)
class Node:
    """A file, a folder or a link.

    Attributes:
        kind: "file", "folder" or "link".
        content: of a file, what it held when the recording began; of a link, its target.
    """

    kind: str
    content: bytes = b""


def mark(text: str) -> None:
    """Write a text into the journal of whoever records this process; else do nothing."""
    if "PARLEY_POWER_JOURNAL" in os.environ:
        ctypes.CDLL(None).parley_power_mark(text.encode())


def record(
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> Journal:
    """Run a command at the root of this repository; what it does below the folder is recorded.

    What the folder held before counts as being on disk.

    Args:
        environment: variables beside those of this process.

    Raises:
        AssertionError: the command failed; or its changes were not all seen, so that the journal
            does not lead to what is in the folder now.
    """
    folder = folder.resolve()
    before = _Names(folder)
    with tempfile.TemporaryDirectory() as place:
        library, file = Path(place, "power_loss.so"), Path(place, "journal")
        file.touch()
        options = ["-shared", "-fPIC", "-O1", "-pthread"]
        subprocess.run(["cc", *options, "-o", library, SOURCE], check=True)
        names = {"FOLDER": str(folder), "JOURNAL": str(file)}
        ours = {f"PARLEY_POWER_{name}": value for name, value in names.items()}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {}), **ours, "LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
        operations = [before.follow(*parsed) for parsed in _records(file.read_bytes())]
    journal = Journal(before.nodes, before.began, [o for o in operations if o is not None])
    with tempfile.TemporaryDirectory() as place:
        journal.disk_after(len(journal), Kept.WRITTEN, Path(place, "replayed"))
        replayed = contents(Path(place, "replayed"))
    found = contents(folder)
    unlike = [name for name in replayed | found if replayed.get(name, 0) != found.get(name, 0)]
    assert not unlike, f"in {folder}, not all that was done to {unlike} was seen"
    return journal


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """What is in a folder, by relative paths: a file's bytes, a link's target, None for a folder.

    The shared memory beside a SQLite database is left out: it is mapped, and made anew after a
    loss.
    """
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else None
        if path.is_dir()
        else path.read_bytes()
        for path in folder.rglob("*")
        if not path.name.endswith("-shm")
    }


@dataclass(frozen=True, repr=False)
class Journal:
    """What a program did to a folder, in order.

    Attributes:
        nodes: all files, folders and links that there were; number 0 is the folder itself.
        began: the entries of all folders when the recording began.
    """

    nodes: Sequence[Node]
    began: Mapping[tuple[int, str], int]
    operations: Sequence[Operation]

    def __len__(self) -> int:
        return len(self.operations)

    def cuts(self, between: int = 0, seed: int = 0) -> list[int]:
        """Points of time at which power may be lost: how many operations were made until then.

        Returns:
            Ascending: just before and after each sync and each mark, both ends, and `between` more
            by chance.
        """
        here = [k for k, o in enumerate(self.operations) if isinstance(o, Sync | Mark)]
        found = {0, len(self), *here, *(k + 1 for k in here)}
        rest = sorted(set(range(len(self))) - found)
        return sorted(found.union(random.Random(seed).sample(rest, min(between, len(rest)))))

    def marks(self, cut: int | None = None) -> list[str]:
        """The marks that were set before a cut, in their order; all without one."""
        return [o.text for o in self.operations[:cut] if isinstance(o, Mark)]

    def disk_after(self, cut: int, seed: int | Kept, into_folder: Path) -> None:
        """Write what may be on the disk when power is lost after `cut` operations.

        Args:
            seed: what was not waited for is kept or lost by chance, or as `Kept` says.
            into_folder: a folder that does not exist yet.
        """
        choices = _Choices(seed)
        inside: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), entry in sorted(self._entries(cut, choices).items()):
            inside.setdefault(folder, []).append((name, entry))
        waiting = [(0, into_folder)]
        while waiting:
            number, path = waiting.pop()
            node = self.nodes[number]
            if node.kind == "folder":
                path.mkdir()
                waiting += [(child, path / name) for name, child in inside.get(number, ())]
            elif node.kind == "link":
                path.symlink_to(os.fsdecode(node.content))
            else:
                path.write_bytes(self._content(number, cut, choices))

    @cached_property
    def _syncs(self) -> dict[int, list[int]]:
        """When each node was synced."""
        found: dict[int, list[int]] = {}
        for k, operation in enumerate(self.operations):
            if isinstance(operation, Sync):
                found.setdefault(operation.node, []).append(k)
        return found

    @cached_property
    def _changes(self) -> dict[int, list[tuple[int, Write | Resize]]]:
        """What was done to each file, and when."""
        found: dict[int, list[tuple[int, Write | Resize]]] = {}
        for k, operation in enumerate(self.operations):
            if isinstance(operation, Write | Resize):
                found.setdefault(operation.node, []).append((k, operation))
        return found

    def _synced_until(self, node: int, cut: int) -> int:
        """What was done to a node before this is on disk for certain."""
        return max((k for k in self._syncs.get(node, ()) if k < cut), default=-1)

    def _entries(self, cut: int, choices: _Choices) -> dict[tuple[int, str], int]:
        entries: dict[tuple[int, str], int | None] = dict(self.began)
        lost: set[tuple[int, str]] = set()
        keep = choices.of_something()
        for k, operation in enumerate(self.operations[:cut]):
            if not isinstance(operation, Rename):
                continue
            changed = operation.entries
            certain = all(k < self._synced_until(folder, cut) for folder, _ in changed)
            if certain or (lost.isdisjoint(changed) and keep()):
                entries |= changed
            else:
                lost.update(changed)
        return {place: node for place, node in entries.items() if node is not None}

    def _content(self, number: int, cut: int, choices: _Choices) -> bytes:
        certain, changes = self._synced_until(number, cut), self._changes.get(number, ())
        file = _File(self.nodes[number].content)
        for _, change in ((k, c) for k, c in changes if k < certain):
            file.apply(change)
        file.settle()
        arrives, size_arrives = choices.of_something(), choices.of_something()
        for _, change in ((k, c) for k, c in changes if certain < k < cut):
            for sector in file.apply(change):
                if arrives():
                    file.write_back(sector)
            if size_arrives():
                file.write_back_size()
        return file.on_disk()


class _Choices:
    """Whether this or that has reached the disk."""

    def __init__(self, seed: int | Kept) -> None:
        self._kept = seed if isinstance(seed, Kept) else None
        self._random = random.Random(None if isinstance(seed, Kept) else seed)

    def of_something(self) -> Arrives:
        """The choices for one file, its size, or all names: some keep little, some nearly all."""
        if self._kept is not None:
            return Arrives(self._random, 1.0 if self._kept is Kept.WRITTEN else 0.0, 0.0)
        share = self._random.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        return Arrives(self._random, share, self._random.choice((0.0, 0.1)))


class Arrives:
    """Says at each call whether one thing arrives; from some call on perhaps none does."""

    def __init__(self, random: random.Random, share: float, stops: float) -> None:
        self._random, self._share, self._stops, self._stopped = random, share, stops, False

    def __call__(self) -> bool:
        self._stopped = self._stopped or self._random.random() < self._stops
        return not self._stopped and self._random.random() < self._share


class _File:
    """A file as the system has it, and as the disk has it."""

    def __init__(self, content: bytes) -> None:
        self._cached, self._disk = bytearray(content), bytearray(content)
        self._size = len(content)

    def apply(self, change: Write | Resize) -> range:
        """Change what the system has; returns the sectors that differ from the disk's."""
        before = len(self._cached)
        if isinstance(change, Write):
            end = change.offset + len(change.data)
            self._cached.extend(bytes(max(0, end - before)))
            self._cached[change.offset : end] = change.data
            first = min(change.offset, before)
        else:
            end, first = max(before, change.size), min(before, change.size)
            del self._cached[change.size :]
            self._cached.extend(bytes(change.size - len(self._cached)))
        return range(first // SECTOR, -(-end // SECTOR))

    def settle(self) -> None:
        """All that the system has reaches the disk."""
        self._disk, self._size = bytearray(self._cached), len(self._cached)

    def write_back(self, sector: int) -> None:
        """One sector, as it is now, reaches the disk."""
        begin, end = sector * SECTOR, (sector + 1) * SECTOR
        self._disk.extend(bytes(max(0, end - len(self._disk))))
        self._disk[begin:end] = self._cached[begin:end].ljust(SECTOR, b"\0")

    def write_back_size(self) -> None:
        """The size, as it is now, reaches the disk."""
        self._size = len(self._cached)

    def on_disk(self) -> bytes:
        """What the disk has; zeros where nothing has arrived."""
        return bytes(self._disk[: self._size]).ljust(self._size, b"\0")


class _Names:
    """Follows which names stand for what, from a folder as it is now through a journal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: list[Node] = []
        self._of_inode: dict[int, int] = {}
        self._entries: dict[tuple[int, str], int] = {}
        self._find(folder)
        self.began = dict(self._entries)

    def _find(self, path: Path) -> int:
        state = path.lstat()
        if state.st_ino in self._of_inode and not path.is_dir():  # a second name of the same file
            return self._of_inode[state.st_ino]
        if path.is_symlink():
            return self._add(Node("link", os.fsencode(os.readlink(path))), state.st_ino)
        if not path.is_dir():
            return self._add(Node("file", path.read_bytes()), state.st_ino)
        number = self._add(Node("folder"), state.st_ino)
        for child in path.iterdir():
            self._entries[number, child.name] = self._find(child)
        return number

    def _add(self, node: Node, inode: int) -> int:
        self.nodes.append(node)
        self._of_inode[inode] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def follow(
        self, kind: str, inode: int, offset: int, path: str, other: str, data: bytes
    ) -> Operation | None:
        """One record as an operation; None where nothing in the folder has changed."""
        match kind:
            case "M":
                return Mark(data.decode())
            case "W":
                return Write(self._of_inode[inode], offset, data)
            case "T":
                return Resize(self._of_inode[inode], offset)
            case "F":
                return Sync(self._of_inode[inode])
            case "C":
                return self._named(path, self._add(Node("file"), inode))
            case "D":
                return self._named(path, self._add(Node("folder"), inode))
            case "S":
                return self._named(path, self._add(Node("link", data), inode))
            case "L":
                return self._named(path, self._of_inode[inode])
            case "U":
                return self._changed({self._place(path): None})
            case "R":
                return self._renamed(path, other)
        raise AssertionError(f"the simulator does not know what {kind!r} does to {path} {other}")

    def _named(self, path: str, node: int) -> Rename:
        return self._changed({self._place(path): node})

    def _renamed(self, path: str, other: str) -> Rename | None:
        assert path, f"{other} came from outside of the folder"
        place = self._place(path)
        if not other:
            return self._changed({place: None})
        node, target = self._entries[place], self._place(other)
        if self._entries.get(target) == node:  # two names of one file: rename(2) does nothing
            return None
        return self._changed({place: None, target: node})

    def _place(self, path: str) -> tuple[int, str]:
        """The folder that an entry is in, as a node, and the entry's name."""
        node = 0
        parts = Path(path).relative_to(self._folder).parts
        for name in parts[:-1]:
            node = self._entries[node, name]
        return node, parts[-1]

    def _changed(self, entries: Mapping[tuple[int, str], int | None]) -> Rename:
        for place, node in entries.items():
            if node is None:
                self._entries.pop(place)
            else:
                self._entries[place] = node
        return Rename(entries)


def _records(journal: bytes) -> Iterator[tuple[str, int, int, str, str, bytes]]:
    """The records of power_loss.c: kind, inode, offset, two paths and data."""
    at = 0
    while at < len(journal):
        kind, inode, offset, *sizes = _HEAD.unpack_from(journal, at)
        at += _HEAD.size
        texts = []
        for size in sizes:
            texts.append(journal[at : at + size])
            at += size
        path, other, data = texts
        yield chr(kind[0]), inode, offset, os.fsdecode(path), os.fsdecode(other), data
