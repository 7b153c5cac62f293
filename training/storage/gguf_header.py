"""Reads the head of a GGUF file: what model it holds, and whether the file is whole.

The format is llama.cpp's: a magic number, key-value pairs, one entry a tensor, then the weights, of
which nothing is read here. Neither torch nor the library `gguf` is needed for that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from envs.errors import ConfigError, in_one_line

SUFFIX = ".gguf"

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""The types of numbers as `struct` calls them."""

_DEFAULT_ALIGNMENT = 32
_MOST = 2**32
"""A larger count than this is damage, not data."""
_MOST_AXES = 8  # llama.cpp knows four
_LONG = 2**16
"""A text that may be longer than this is looked for in the file before it is read."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Attributes:
        values: the key-value pairs; of an array there is only its length.
        tensors: name -> (shape with the fastest axis first, type, offset in the data).
        data_start: where the weights begin, bytes from the start of the file.
    """

    values: Mapping[str, Any]
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]]
    data_start: int

    @property
    def architecture(self) -> str:
        """The kind of model, as llama.cpp calls it, such as "llama"; "" if none is named."""
        return str(self.values.get("general.architecture", ""))

    @property
    def has_tokenizer(self) -> bool:
        """Whether the file holds a vocabulary."""
        return bool(self.values.get("tokenizer.ggml.tokens"))

    @property
    def has_chat_template(self) -> bool:
        """Whether the file says how a dialogue is written."""
        return bool(self.values.get("tokenizer.chat_template"))

    def data_bytes(self, sizes: Mapping[int, tuple[int, int]]) -> int:
        """How many bytes the weights take.

        Args:
            sizes: type -> (numbers in a block, bytes of a block), as in `gguf.GGML_QUANT_SIZES`.

        Raises:
            KeyError: a tensor has a type that is not in `sizes`.
        """
        ends = [0]
        for shape, kind, offset in self.tensors.values():
            numbers = 1
            for length in shape:
                numbers *= length
            block, size = sizes[kind]
            ends.append(offset + numbers // block * size)
        return max(ends)


def read_header(file: Path) -> GgufHeader:
    """Read the head of a GGUF file.

    Raises:
        ConfigError: it is no GGUF file, or it ends before its head does.
    """
    with file.open("rb") as stream:
        if stream.read(4) != _MAGIC:
            raise ConfigError(
                f"{file} is not a GGUF file, for it does not begin with GGUF; give a file that "
                "llama.cpp can read, or the folder of a Hugging Face model."
            )
        try:
            return _read(stream)
        except (struct.error, UnicodeDecodeError, RecursionError, _DamageError) as error:
            raise ConfigError(
                f"{file} is damaged: its head cannot be read to its end ({in_one_line(error)}); "
                "download it again."
            ) from error


class _DamageError(Exception):
    """A number in the file cannot be right."""


def _read(stream: BinaryIO) -> GgufHeader:
    version, tensors, pairs = _unpack(stream, "IQQ")
    if version not in _VERSIONS:
        raise _DamageError(f"version {version}, expected {' or '.join(map(str, _VERSIONS))}")
    values = {}
    for _ in range(_checked(pairs)):
        name = _string(stream)
        values[name] = _value(stream, *_unpack(stream, "I"))
    entries = {}
    for _ in range(_checked(tensors)):
        name = _string(stream)
        (axes,) = _unpack(stream, "I")
        if axes > _MOST_AXES:
            raise _DamageError(f"a tensor of {axes} axes")
        shape = _unpack(stream, f"{axes}Q")
        kind, offset = _unpack(stream, "IQ")
        entries[name] = (shape, kind, offset)
    alignment = values.get("general.alignment", 0) or _DEFAULT_ALIGNMENT
    if type(alignment) is not int or alignment < 0:
        raise _DamageError("an alignment that is no whole number")
    return GgufHeader(values, entries, -(-stream.tell() // alignment) * alignment)


def _unpack(stream: BinaryIO, form: str) -> tuple[Any, ...]:
    form = f"<{form}"
    return struct.unpack(form, stream.read(struct.calcsize(form)))


def _string(stream: BinaryIO) -> str:
    (length,) = _unpack(stream, "Q")
    if length > _LONG and length > os.fstat(stream.fileno()).st_size - stream.tell():
        raise _DamageError(f"a text of {length} bytes")  # for which there might be no memory
    return stream.read(length).decode("utf-8")


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(stream)
    if kind in _NUMBERS:
        return _unpack(stream, _NUMBERS[kind])[0]
    if kind != _ARRAY:
        raise _DamageError(f"a value of type {kind}")
    inner, count = _unpack(stream, "IQ")
    _checked(count)
    if inner in _NUMBERS:
        stream.seek(count * struct.calcsize(_NUMBERS[inner]), 1)
    else:
        for _ in range(count):
            _value(stream, inner)
    return count


def _checked(count: int) -> int:
    if count > _MOST:
        raise _DamageError(f"a count of {count}")
    return count
