"""The files of a model's weights: which there are, and what their heads say; no weights are read.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from envs.errors import ConfigError
from training.storage.files import read_object

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads a model's weights from; none if there are none.

    Raises:
        ConfigError: the list of shards cannot be read, or some of them are not there.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if not (folder / INDEX).is_file():
        return []
    places = read_object(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ConfigError(f"{folder / INDEX} lists no weights; copy it again.")
    files = [folder / name for name in sorted(set(map(str, places.values())))]
    if lost := [file.name for file in files if not file.is_file()]:
        raise ConfigError(
            f"{folder} lacks {len(lost)} of the {len(files)} files that its weights lie in, such "
            f"as {lost[0]}; copy the whole folder again."
        )
    return files


def shapes_in(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights in safetensors files, from their heads.

    Raises:
        ConfigError: a file is damaged, or a placeholder for one.
    """
    return dict(shape for file in files for shape in _head(file))


def _head(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stream:
            for name in stream.keys():  # noqa: SIM118 - it is no mapping
                yield name, tuple(stream.get_slice(name).get_shape())
    except (SafetensorError, OSError) as error:
        with file.open("rb") as opened:
            if opened.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ConfigError(
                    f"{file} holds no weights, only Git LFS's pointer to them; run git lfs pull "
                    "there, or download the file itself."
                ) from error
        raise ConfigError(f"{file} is damaged ({error}); copy it again.") from error
