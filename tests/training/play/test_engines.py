"""Engines are made as the options say, sleep together, and are missed before anything slow."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from engines.batcher import Batcher
from engines.local import LocalEngine
from engines.registry import EngineSpec
from envs.errors import ConfigError
from tests.tiny_models import tiny_policy
from training.cli.compose import compose
from training.config.engine import EngineConfig
from training.play.engines import Engines
from training.preflight import checks as preflight


def test_an_engine_that_changes_has_weights_of_its_own() -> None:
    model, other = tiny_policy(), tiny_policy(1)
    engines = Engines(EngineConfig(), Batcher())
    fixed = engines.load(model, (2,), changes=False)
    changing = engines.load(model, (2,), changes=True)
    assert isinstance(changing, LocalEngine)
    before = fixed.weights_version
    assert changing.weights_version == before
    assert changing.publish(other) != before
    assert engines.load(model, (2,), changes=False).weights_version == before
    engines.sleep()
    engines.wake()
    engines.close()


def test_engines_that_cannot_constrain_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another package is made as ever, and refused where turns are to be constrained."""
    made: list[tuple[object, ...]] = []
    spec = EngineSpec(name="plain", make=lambda *parts: made.append(parts))
    monkeypatch.setattr(EngineConfig, "spec", property(lambda self: spec))
    Engines(EngineConfig(), Batcher()).load(tiny_policy(), (2,), changes=False)
    assert len(made[0]) == 4
    words = ["policy=checkpoint", "policy.name=x"]
    with pytest.raises(ConfigError, match=r"engine=local cannot hold replies to a pattern"):
        compose(words)
    assert not compose([*words, "policy.constrained=false"]).policy.constrained


def test_vllm_that_is_not_there_is_missed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    preflight.check_engine(EngineConfig(name="local"))
    with pytest.raises(ConfigError, match="vllm is not installed; install it by pip install"):
        preflight.check_engine(EngineConfig(name="vllm"))


def test_options_of_vllm_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"engine\.gpu_memory_share is 1\.5"):
        compose(["engine=vllm", "engine.gpu_memory_share=1.5"])
    assert compose(["engine=vllm", "engine.dtype=bfloat16"]).engine.name == "vllm"
    assert compose([]).engine.name == EngineConfig().name


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_options_reach_vllm() -> None:
    options = ("kv_cache_gib=0.05", "context_tokens=100", "max_running=8")
    config = compose(["engine=vllm", *(f"engine.{option}" for option in options)])
    engines = Engines(config.engine, Batcher())
    model = tiny_policy()
    engine = engines.load(model, (2,), changes=True)
    told = engine.vllm.vllm_config  # type: ignore[attr-defined]
    assert told.model_config.max_model_len == 100
    assert told.scheduler_config.max_num_seqs == 8
    engines.close()
