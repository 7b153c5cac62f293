"""The simulator of power loss: it sees all that is done, and loses what was not waited for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.power_loss import (
    Journal,
    Kept,
    Mark,
    Node,
    Operation,
    Rename,
    Resize,
    Sync,
    Write,
    contents,
    needs_simulator,
    record,
)

EVERYTHING = """
import ctypes, os, shutil, subprocess, sys, threading
from pathlib import Path
import numpy
from safetensors.numpy import save_file

folder = Path(sys.argv[1])
os.chdir(folder)
Path("made").mkdir()
Path("made/text").write_text("here")
with open("made/text", "a") as file:
    file.write(" and there")
fd = os.open("old", os.O_RDWR | os.O_TRUNC)
os.writev(fd, [b"0123", b"456789"])
os.pwrite(fd, b"ab", 2)
os.pwritev(fd, [b"cd", b"e"], 7)
os.ftruncate(fd, 9)
os.lseek(fd, 20, os.SEEK_SET)
os.write(fd, b"after a hole")
os.fdatasync(fd)
os.close(fd)
fd = os.open("made", os.O_RDONLY)
os.rename("text", "moved", src_dir_fd=fd, dst_dir_fd=fd)
os.symlink("moved", "link", dir_fd=fd)
os.mkdir("inner", dir_fd=fd)
os.fsync(fd)
os.replace("old", "made/inner/replaced")
os.link("made/moved", "second name")
os.rename("made/moved", "second name")  # the same file: nothing happens
Path("made/link").open("ab").write(b", through a link")
shutil.copytree("made", "copied", symlinks=True)
os.rename("copied", "renamed")
os.truncate("renamed/moved", 3)
shutil.rmtree("renamed/inner")
os.unlink("kept/gone")
Path("gone again").write_text("x")
os.unlink("gone again")
Path("an inode used again, perhaps").write_text("y")
os.rename("kept", "../outside")
save_file({"a": numpy.zeros(9)}, "by Rust, which renames without the C library")
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(b"by a stream of C", b"w"))
libc.fputs(b"buffered", stream)
libc.fclose(stream)
threads = [threading.Thread(target=Path(f"t{n}").write_bytes, args=[b"t" * n]) for n in range(8)]
for thread in threads:
    thread.start()
subprocess.run([sys.executable, "-c", "open('by a child', 'w').write('c')"], check=True)
if os.fork() == 0:
    Path("by a fork").write_text("f")
    os._exit(0)
os.wait()
for thread in threads:
    thread.join()
"""


@needs_simulator
def test_it_sees_all_that_is_done_below_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "kept").mkdir(parents=True)
    (folder / "kept" / "gone").write_text("was here")
    (folder / "old").write_text("was here")
    before = contents(folder)
    journal = record([sys.executable, "-c", EVERYTHING, str(folder)], folder)  # which compares
    journal.disk_after(0, Kept.WRITTEN, tmp_path / "before")
    assert contents(tmp_path / "before") == before


@needs_simulator
def test_what_it_cannot_see_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4096))
    program = f"""
import mmap
with open("{tmp_path}/file", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
    mapped[0] = 1
"""
    with pytest.raises(AssertionError, match=r"not all that was done to \['file'\] was seen"):
        record([sys.executable, "-c", program], tmp_path)


@needs_simulator
def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such luck"):
        record([sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path)


FILE, OLD, FOLDER, INNER = 1, 2, 3, 4
NODES = (Node("folder"), Node("file"), Node("file", b"o" * 2048), Node("folder"), Node("file"))


def losses(
    operations: list[Operation], tmp_path: Path, seeds: int = 200
) -> set[tuple[tuple[str, bytes | str | None], ...]]:
    """All disks that are found after the last operation."""
    journal = Journal(NODES, {(0, "old"): OLD}, operations)
    tmp_path.mkdir(exist_ok=True)
    found = set()
    for number, seed in enumerate((*Kept, *range(seeds))):
        into = tmp_path / f"{number}"
        journal.disk_after(len(journal), seed, into)
        found.add(tuple(sorted(contents(into).items())))
    return found


def test_a_renamed_file_that_was_not_waited_for_may_be_empty(tmp_path: Path) -> None:
    replaced = Rename({(0, "part"): None, (0, "old"): FILE})
    made: list[Operation] = [Rename({(0, "part"): FILE}), Write(FILE, 0, b"new"), replaced]
    old, part = ("old", b"o" * 2048), (("part", b""), ("part", b"new"), ("part", bytes(3)))
    renamed = {(("old", b""),), (("old", b"new"),), (("old", bytes(3)),)}
    assert losses(made, tmp_path) == {(old,), *((old, one) for one in part), *renamed}


def test_what_was_waited_for_stays(tmp_path: Path) -> None:
    replaced = Rename({(0, "part"): None, (0, "old"): FILE})
    made: list[Operation] = [Rename({(0, "part"): FILE}), Write(FILE, 0, b"new"), Sync(FILE)]
    old = ("old", b"o" * 2048)
    atomic = {(old,), (old, ("part", b"new")), (("old", b"new"),)}
    assert losses([*made, replaced], tmp_path / "1") == atomic
    assert losses([*made, replaced, Sync(0)], tmp_path / "2") == {(("old", b"new"),)}


def test_sectors_arrive_each_for_itself(tmp_path: Path) -> None:
    """Two sectors are written twice: each is as at first, or as after one of the writes."""
    made: list[Operation] = [Write(OLD, 512, b"1" * 1024), Write(OLD, 700, b"2" * 700)]
    whole = b"o" * 512
    one = {whole, b"1" * 512, b"1" * 188 + b"2" * 324}
    two = {whole, b"1" * 512, b"2" * 376 + b"1" * 136}
    wanted = {(("old", whole + left + right + whole),) for left in one for right in two}
    assert losses(made, tmp_path, seeds=400) == wanted


def test_a_size_arrives_for_itself(tmp_path: Path) -> None:
    found = losses([Resize(OLD, 100), Write(OLD, 100, b"n" * 10)], tmp_path)
    sizes = {len(content) for ((_, content),) in found if isinstance(content, bytes)}
    assert sizes == {2048, 100, 110}
    assert (("old", b"o" * 100 + b"n" * 10),) in found
    assert (("old", b"o" * 110),) in found, "the new size, and none of the new bytes"


def test_a_folder_whose_name_was_not_waited_for_takes_its_files_along(tmp_path: Path) -> None:
    made: list[Operation] = [
        Rename({(0, "folder"): FOLDER}),
        Rename({(FOLDER, "inner"): INNER}),
        Write(INNER, 0, b"i"),
        Sync(INNER),
        Sync(FOLDER),
    ]
    old, inside = ("old", b"o" * 2048), (("folder", None), ("folder/inner", b"i"))
    assert losses(made, tmp_path / "1") == {(old,), (*inside, old)}
    assert losses([*made, Sync(0)], tmp_path / "2") == {(*inside, old)}


def test_cuts_are_beside_all_syncs_and_marks() -> None:
    write = Write(OLD, 0, b"x")
    journal = Journal(NODES, {}, [write, write, Sync(OLD), write, write, write, Mark("m"), write])
    assert journal.cuts() == [0, 2, 3, 6, 7, 8]
    assert journal.cuts(between=99) == list(range(9))
    assert journal.cuts(between=1, seed=3) == journal.cuts(between=1, seed=3)
    assert (journal.marks(6), journal.marks(7), journal.marks()) == ([], ["m"], ["m"])
