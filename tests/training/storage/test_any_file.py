"""Files that a run, a model or somebody else wrote, mutated: read, or refused in a sentence."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from envs.errors import CheckpointError, ConfigError, DataError, ParleyError
from envs.options import to_mapping
from tests.outside_data import (
    check_sentence,
    dumped,
    fuzz,
    in_no_time,
    json_values,
    long_texts,
    mutated,
    texts,
    torn,
)
from training.cli.compose import compose
from training.config import RunConfig, from_mapping
from training.evaluation.study import Studies, read_studies
from training.evaluation.trials import Trial, read_trial
from training.preflight.servers import _names
from training.storage.files import parse_yaml, read_object
from training.storage.gguf_header import read_header
from training.storage.hub import Address, read_address
from training.storage.learned import LEARNED, LEARNED_OPTIONS, learned_options
from training.storage.manifest import MANIFEST, check_files
from training.storage.run_files import (
    MEASURES,
    METRICS,
    SUMMARY,
    read_metrics_file,
    read_result,
)
from training.storage.run_options import read_config

MOST = 700
"""Characters of a sentence, the path of the file included."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples, each of which writes its file anew."""
    return tmp_path_factory.mktemp("files")


def outcome(read: Callable[[], Any], *errors: type[ParleyError]) -> Any:
    """What was read, or None where it was refused with one of these errors."""
    try:
        with in_no_time(10.0):
            return read()
    except errors as error:
        check_sentence(error, most=MOST)
        return None


# Options

OPTIONS: dict[str, Any] = json.loads(json.dumps(to_mapping(compose([]))))
huge = st.sampled_from([int("9" * 400), 16**5000, -(10**4000), "x" * 5000, [[]] * 3000])


@example(options=OPTIONS | {"seed": 16**5000})
@example(options=OPTIONS | {"budget_usd": 10**400})
@example(options=OPTIONS | {"x" * 5000: 1})
@fuzz(120)
@given(options=mutated(OPTIONS, most=2))
def test_any_options_are_a_configuration_or_refused(options: dict[str, Any]) -> None:
    config = outcome(lambda: from_mapping(options), ConfigError)
    if config is not None:
        assert isinstance(config, RunConfig)
        assert from_mapping(to_mapping(config)) == config


CONFIG_TEXT = yaml.safe_dump(OPTIONS)[:3000]
yaml_texts = st.one_of(
    torn(CONFIG_TEXT.encode(), most=4),
    torn(b"a: &a [1, 2]\nb: {c: *a, <<: {d: 2026-01-02}}\nc: !!int '3'\nd: 0x1f\n", most=4),
    json_values.map(dumped).map(str.encode),
    st.binary(max_size=40),
)


@example(b"a: 2026-99-99\n")
@example(b"a: !!int x\n")
@example(b"a: " + b"9" * 5000)
@example(b"\xff\xfea: 1")
@fuzz(120)
@given(content=yaml_texts)
def test_any_yaml_is_options_or_refused(folder: Path, content: bytes) -> None:
    file = folder / "config.yaml"
    file.write_bytes(content)
    config = outcome(lambda: read_config(file), ConfigError)
    assert config is None or isinstance(config, dict)
    studies = outcome(lambda: read_studies(file), DataError)
    assert studies is None or isinstance(studies, Studies)


BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
SMALL = 20_000  # the library itself takes a second for 100,000


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a {b: *a}",
        "<<: &a {<<: *a}",
        *long_texts(
            "[",
            "{",
            "- ",
            "a: ",
            "? ",
            "&a ",
            "*a ",
            "'",
            '"',
            "\n",
            "#",
            "|",
            "!",
            "%",
            "[a, ",
            length=SMALL,
        ),
    ],
    ids=lambda text: repr(text[:6]),
)
def test_no_yaml_takes_long(text: str) -> None:
    try:
        with in_no_time(10.0):
            parse_yaml(text)
    except yaml.YAMLError:
        return


STUDIES = {
    "options": ["a=1"],
    "smoke_options": [],
    "dialogues": 2,
    "studies": {
        "one": {
            "title": "T",
            "experiments": ["sdpo", "dpo"],
            "published": {"dpo": [1.0, 2.0]},
            "variants": {"v": ["b=2"]},
            "seeds": 3,
        }
    },
}


@fuzz(20)
@given(content=mutated(STUDIES).map(dumped))
def test_any_definition_of_studies_is_read_or_refused(folder: Path, content: str) -> None:
    file = folder / "studies.yaml"
    file.write_text(content)
    studies = outcome(lambda: read_studies(file), DataError)
    for study in studies.studies.values() if studies is not None else ():
        assert study.methods()


# What a run wrote

LINES = [{"iteration": n, "examples": 3, "update": {"steps": 2}} for n in range(3)]


@example(b'{"iteration": 1e999}')
@example(b"[" * 100_000)
@fuzz(100)
@given(
    content=torn("\n".join(map(json.dumps, LINES)).encode())
    | mutated(LINES).map(lambda lines: "\n".join(map(dumped, lines)).encode())
)
def test_any_metrics_are_records_or_refused(folder: Path, content: bytes) -> None:
    (folder / METRICS).write_bytes(content)
    for record in outcome(lambda: read_metrics_file(folder), DataError) or ():
        assert type(record["iteration"]) is int


@pytest.mark.parametrize("name", [SUMMARY, MEASURES])
@example(content=b"[" * 100_000)
@fuzz(40)
@given(
    content=torn(b'{"wall_s": {"collect": 1.5}, "notes": []}')
    | json_values.map(dumped).map(str.encode)
)
def test_any_result_is_an_object_or_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    found = outcome(lambda: read_result(folder, name), DataError)
    assert found is None or isinstance(found, dict)


TRIAL = {
    "method": "sdpo",
    "seed": 1,
    "config": {"seed": 1},
    "scenarios": ["a", "b"],
    "values": {"final": {"self": {"goal": [1.0, None]}}},
    "sampled_tokens": 1,
    "update_steps": 2,
    "examples": 3,
    "stopped_early": 0,
    "wall_s": 1.5,
    "clone": None,
}


@example(TRIAL | {"scenarios": None})
@example(TRIAL | {"scenarios": 5})
@example(TRIAL | {"clone": "x\0y"})
@example(TRIAL | {"clone": "gone", "values": []})
@fuzz(100)
@given(record=mutated(TRIAL) | json_values)
def test_any_record_is_a_trial_or_refused(folder: Path, record: Any) -> None:
    file = folder / "trial.json"
    file.write_text(dumped(record))
    trial = outcome(lambda: read_trial(file), DataError)
    if trial is not None:
        assert isinstance(trial, Trial)
        assert all(isinstance(scenario, str) for scenario in trial.scenarios)


# What came with a model

KNOWN = {"prompt_style": "full", "max_new_tokens": 48, "thinking": True, "constrained": False}


@example(b"[1]")
@example(b"5")
@example(b"\xff")
@example(b"[" * 100_000)
@fuzz(80)
@given(content=torn(dumped(KNOWN).encode()) | mutated(KNOWN).map(dumped).map(str.encode))
def test_any_record_of_learning_is_options_or_refused(folder: Path, content: bytes) -> None:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / LEARNED).write_bytes(content)
    found = outcome(lambda: learned_options(str(model)), CheckpointError)
    assert found is None or set(found) <= set(LEARNED_OPTIONS)


@example(b"policy: null\n")
@example(b"policy: [1]\n")
@fuzz(30)
@given(content=torn(b"policy: {prompt_style: full}\n"))
def test_any_options_of_its_run_are_taken_or_refused(folder: Path, content: bytes) -> None:
    checkpoint = folder / "run" / "checkpoints" / "0002"
    checkpoint.mkdir(exist_ok=True, parents=True)
    (folder / "run" / "config.yaml").write_bytes(content)
    found = outcome(lambda: learned_options(str(checkpoint)), ConfigError)
    assert found is None or set(found) <= set(LEARNED_OPTIONS)


SUMS = {"sha256": {"model.safetensors": "ab" * 32, "config.json": "cd" * 32}}


@example(dumped({"sha256": {"\x1b[2J" + "x" * 5000: "a"}}).encode())
@example(b'{"sha256": ' + b"[" * 100_000)
@fuzz(80)
@given(content=torn(dumped(SUMS).encode()) | mutated(SUMS).map(dumped).map(str.encode))
def test_any_manifest_is_heeded_or_refused(folder: Path, content: bytes) -> None:
    checkpoint = folder / "whole"
    checkpoint.mkdir(exist_ok=True)
    for name in SUMS["sha256"]:
        (checkpoint / name).write_text("")
    (checkpoint / MANIFEST).write_bytes(content)
    found = outcome(lambda: check_files(checkpoint), CheckpointError)
    assert found is None or set(found) == set(SUMS["sha256"])


@example(b"[" * 100_000)
@fuzz(60)
@given(content=torn(b'{"weight_map": {"a": "b"}}') | json_values.map(dumped).map(str.encode))
def test_any_options_of_a_model_are_an_object_or_refused(folder: Path, content: bytes) -> None:
    file = folder / "adapter_config.json"
    file.write_bytes(content)
    found = outcome(lambda: read_object(file, empty=True), ConfigError)
    assert found is None or isinstance(found, dict)


@example("hf://" + "x" * 5000)
@fuzz()
@given(path=torn(b"hf://owner/name@v1").map(lambda text: text.decode("latin-1")) | texts)
def test_any_address_on_the_hub_is_one_or_refused(path: str) -> None:
    found = outcome(lambda: read_address(path), ConfigError)
    assert found is None or isinstance(found, Address)


LISTING = {"data": [{"id": "model-a", "object": "model"}, {"id": "model-b"}]}


@fuzz(60)
@given(body=torn(dumped(LISTING).encode()) | mutated(LISTING).map(dumped).map(str.encode))
def test_any_list_of_models_is_names_or_nothing(body: bytes) -> None:
    for name in _names(body, "sk-0123456789"):
        assert name.isprintable()
        assert len(name) <= 200


# The head of a GGUF file


def text(word: str) -> bytes:
    return struct.pack("<Q", len(word.encode())) + word.encode()


def pair(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


PAIRS = (
    pair("general.architecture", 8, text("llama")),
    pair("general.alignment", 4, struct.pack("<I", 32)),
    pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
    pair("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 2) + struct.pack("<2f", 1.0, 2.0)),
)
TENSOR = text("token_embd.weight") + struct.pack("<I2QIQ", 2, 8, 4, 0, 0)


def head(*pairs: bytes, tensors: bytes = TENSOR, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 1, len(pairs)) + b"".join(pairs) + tensors


HEAD = head(*PAIRS)


def check_head(folder: Path, content: bytes) -> None:
    """Valid: values by name, shapes of whole numbers, weights that begin behind the head."""
    file = folder / "model.gguf"
    file.write_bytes(content)
    tracemalloc.start()
    header = outcome(lambda: read_header(file), ConfigError)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20 + 100 * len(content)
    if header is not None:
        assert header.data_start > 0
        assert header.has_tokenizer in (True, False)
        for shape, kind, offset in header.tensors.values():
            assert all(type(n) is int for n in (*shape, kind, offset))


def test_a_whole_head_is_read(folder: Path) -> None:
    file = folder / "model.gguf"
    file.write_bytes(HEAD)
    header = read_header(file)
    assert header.architecture == "llama"
    assert header.tensors == {"token_embd.weight": ((8, 4), 0, 0)}
    assert header.data_start == -(-len(HEAD) // 32) * 32


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_every_byte_of_a_head_may_be_wrong(folder: Path, byte: int) -> None:
    for at in range(len(HEAD)):
        check_head(folder, HEAD[:at] + bytes([byte]) + HEAD[at + 1 :])
        check_head(folder, HEAD[:at])


@pytest.mark.parametrize("count", [2**63, 2**32, 10**6])
def test_no_count_in_a_head_is_believed_beyond_the_file(folder: Path, count: int) -> None:
    eight, four = struct.pack("<Q", count), struct.pack("<I", min(count, 2**32 - 1))
    for at in range(len(HEAD)):
        check_head(folder, HEAD[:at] + eight + HEAD[at + 8 :])
        check_head(folder, HEAD[:at] + four + HEAD[at + 4 :])


ALIGNMENTS = {
    "text": (8, text("abc")),
    "text of a number": (8, text("32")),
    "nan": (6, struct.pack("<f", float("nan"))),
    "infinite": (6, struct.pack("<f", float("inf"))),
    "negative": (5, struct.pack("<i", -32)),
    "zero": (4, struct.pack("<I", 0)),
    "true": (7, b"\1"),
}


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_an_alignment_is_a_whole_number_or_refused(folder: Path, name: str) -> None:
    check_head(folder, head(pair("general.alignment", *ALIGNMENTS[name])))


def test_arrays_in_arrays_have_an_end(folder: Path) -> None:
    nested = struct.pack("<IQ", 9, 1) * 8000 + struct.pack("<IQ", 0, 0)
    check_head(folder, head(pair("x", 9, nested)))
    many = struct.pack("<IQ", 9, 2**32) + struct.pack("<IQ", 0, 2**32) * 8000
    check_head(folder, head(pair("x", 9, many)))


@fuzz(150)
@given(content=torn(HEAD, most=6))
def test_any_torn_head_is_read_or_refused(folder: Path, content: bytes) -> None:
    check_head(folder, content)
