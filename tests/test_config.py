"""Every configuration file composes, and names only what exists."""

from __future__ import annotations

import re
import traceback
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from envs.errors import ConfigError
from envs.options import defaults, option_names, to_mapping
from training.cli.compose import CONF_DIR, compose, groups, with_defaulted
from training.config import RunConfig, from_mapping
from training.config.method import cautions
from training.config.play import SCENES

CHOICES = [(group, name) for group, names in groups().items() for name in names]
NEEDED = {
    ("policy", "checkpoint"): ["policy.name=some/folder"],
    ("policy", "api"): ["policy.model.name=some-model"],
    ("scale", "gpu"): ["policy.name=some/folder"],
    ("scale", "cpu"): ["policy.name=some/folder"],
    ("env", "sotopia"): ["env.path=some/folder"],
    ("partner", "model"): ["partner.model.name=some-model"],
    ("partner", "server"): ["partner.model.name=some-model"],
    ("partner", "checkpoint"): ["partner.checkpoint.name=some/folder"],
    ("judge", "panel"): ["judge.panel.second.name=some-model"],
    ("demonstrations", "self_chat"): ["demonstrations.model.name=some-model"],
    ("demonstrations", "file"): ["demonstrations.path=some/folder"],
    ("demonstrations", "self_chat_checkpoint"): ["demonstrations.checkpoint.name=some/folder"],
    ("experiment", "sotopia_sdpo_paper"): ["demonstrations.model.name=some-model"],
    ("experiment", "sotopia_self_rewarding"): ["judge.model.name=some-model"],
    ("pairing", "binary"): ["objective=kto"],
    ("pairing", "expert"): ["branch.source=experts"],
    ("pairing", "imitation"): ["branch.source=experts", "objective=preferred_sft"],
    ("pairing", "preferred"): ["objective=preferred_sft"],
    ("pairing", "win_rate"): ["objective=sppo"],
    ("pairing", "win_rate_pair"): ["objective=sppo_pair"],
}
MEASURED_ONLY = {("env", "open"), ("env", "sotopia"), ("policy", "api"), ("partner", "human")}
"""What python -m training.evaluate takes and training does not."""


def contents(group: str) -> dict[str, dict[str, Any]]:
    files = Path(CONF_DIR, group).glob("*.yaml")
    return {file.stem: yaml.safe_load(file.read_text()) for file in files}


def dotted(values: dict[str, Any], path: str = "") -> set[str]:
    """The names of all options in nested values, sections included."""
    names = set()
    for name, value in values.items():
        names.add(f"{path}{name}")
        if isinstance(value, dict):
            names |= dotted(value, f"{path}{name}.")
    return names


def registry(dotted: str) -> dict[str, Any]:
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_composes(group: str, name: str) -> None:
    sign = "+" if group == "experiment" else ""
    compose([f"{sign}{group}={name}", *NEEDED.get((group, name), [])])


@pytest.mark.parametrize("name", groups()["experiment"])
def test_large_models_take_the_values_of_the_papers(name: str) -> None:
    """Those that suit the small model would ruin a large one."""
    words = [f"+experiment={name}", *NEEDED.get(("experiment", name), [])]
    small, large = compose(words), compose([*words, "scale=gpu", *NEEDED["policy", "checkpoint"]])
    assert (small.size, large.size) == ("small", "large")
    assert large.update.learning_rate <= 5e-6 < 1e-4 < small.update.learning_rate
    assert (large.device, large.engine.name, large.update.precision) == ("cuda", "vllm", "bfloat16")
    if large.objective.beta is not None:
        assert large.objective.beta <= 0.4 or name == "sotopia_simpo"
    chosen = compose([*words, "size=large", "update.learning_rate=3e-3"])
    assert chosen.update.learning_rate == 3e-3, "what the command line says comes first"


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_says_the_command_that_uses_it(group: str, name: str) -> None:
    text = Path(CONF_DIR, group, f"{name}.yaml").read_text()
    header = "".join(line for line in text.splitlines() if line.startswith("#"))
    command = "evaluate" if (group, name) in MEASURED_ONLY else "loop"
    assert f"python -m training.{command}" in header
    assert f"{group}={name}" in header


def test_each_composed_value_comes_from_its_file() -> None:
    config = compose(["objective=sppo", "pairing=win_rate", "env=price", "seed=7"])
    assert (config.objective.name, config.objective.beta) == ("sppo", None)
    assert config.pairing.name == "win_rate"
    assert config.env.families == {"price": 1.0}
    assert config.seed == 7


@pytest.mark.parametrize("name", ["sotopia_sdpo", "sotopia_sppo"])
def test_a_configuration_survives_being_written_and_read(name: str) -> None:
    """A run keeps its configuration as YAML and is resumed from it."""
    config = compose([f"+experiment={name}", "threads=2"])
    assert from_mapping(yaml.safe_load(yaml.safe_dump(to_mapping(config)))) == config


def test_the_experiments_differ_in_method_only() -> None:
    sdpo, sppo = compose(["+experiment=sotopia_sdpo"]), compose(["+experiment=sotopia_sppo"])
    assert (sdpo.objective.name, sppo.objective.name) == ("sdpo", "sppo")
    assert sdpo.critic.located_share > 0.5, "located errors are the main source of pairs"
    assert sppo.critic.located_share == 0
    update = replace(sppo.update, learning_rate=sdpo.update.learning_rate)
    assert (sdpo.env, sdpo.update, sdpo.evaluation) == (sppo.env, update, sppo.evaluation)


@pytest.mark.parametrize("name", groups()["experiment"])
def test_an_experiment_is_called_like_its_file(name: str) -> None:
    values = yaml.safe_load(Path(CONF_DIR, "experiment", f"{name}.yaml").read_text())
    assert name == f"sotopia_{values['name']}"
    assert len(Path(CONF_DIR, "experiment", f"{name}.yaml").read_text().splitlines()) <= 30


def test_every_part_of_a_method_is_in_some_experiment() -> None:
    """A new objective, pairing, critic or reference comes with a method that uses it."""
    found = [
        compose([f"+experiment={name}", *NEEDED.get(("experiment", name), [])])
        for name in groups()["experiment"]
    ]
    assert {c.objective.name for c in found} == set(
        registry("training.methods.objectives:OBJECTIVES")
    )
    assert {c.pairing.name for c in found} == set(registry("training.methods.pairings:PAIRINGS"))
    critics = {name for c in found for name, weight in c.critic.weights.items() if weight}
    assert critics == set(registry("judges.critics.base:CRITICS"))
    assert {c.reference.schedule for c in found} >= {"iteration", "bc", "collected"}


def test_the_segment_ablation_differs_in_lengths_alone() -> None:
    """The paper's [negative, positive] counts messages of both sides: 1, 3, 5 are 1, 2, 3 own."""
    own = {"1": 1, "3": 2, "5": 3}
    base = compose(["+experiment=sotopia_sdpo"])
    names = [n for n in groups()["experiment"] if re.fullmatch(r"sotopia_segments_\d_\d", n)]
    assert len(names) == 7
    for name in names:
        negative, positive = name.split("_")[2:]
        config = compose([f"+experiment={name}"])
        pairing = config.pairing
        assert pairing.max_segment_turns == own[positive]
        assert (pairing.rejected_segment_turns or pairing.max_segment_turns) == own[negative]
        assert pairing.is_unequal == (negative != positive)
        assert replace(config, pairing=base.pairing, name=base.name) == base


def test_the_source_ablation_differs_in_who_continues_alone() -> None:
    own = compose(["+experiment=sotopia_source_policy"])
    other = compose(["+experiment=sotopia_source_experts"])
    assert (own.branch.source, other.branch.source) == ("policy", "keen_experts")
    assert replace(other, branch=own.branch, name=own.name) == own


def test_unequal_segments_are_meant_or_refused() -> None:
    unequal = ["pairing.max_segment_turns=2", "pairing.rejected_segment_turns=1"]
    with pytest.raises(ConfigError, match=r"the policy may collapse; make them equal, or set"):
        compose(unequal)
    (caution,) = cautions(compose([*unequal, "pairing.allow_unequal=true"]).pairing)
    assert "2 own turns on the better and 1 on the worse side" in caution
    assert cautions(compose([]).pairing) == []


@pytest.mark.parametrize("group", ["objective", "pairing", "judge", "logger"])
def test_a_file_is_named_like_what_it_chooses(group: str) -> None:
    assert {stem: values["name"] for stem, values in contents(group).items()} == {
        stem: stem for stem in contents(group)
    }


def test_objectives_are_those_of_the_registry_with_their_own_options() -> None:
    assert set(contents("objective")) == set(registry("training.methods.objectives:OBJECTIVES"))
    for name, values in contents("objective").items():
        options = registry("training.methods.objectives:OBJECTIVES")[name].option_names
        assert set(values) - {"name"} == set(options)


def test_pairings_are_those_of_the_registry() -> None:
    assert set(contents("pairing")) == set(registry("training.methods.pairings:PAIRINGS"))
    for name, values in contents("pairing").items():
        spec = registry("training.methods.pairings:PAIRINGS")[name]
        assert set(values) - {"name", "value", "margin"} <= set(spec.option_names)
        assert values["value"] in registry("training.methods.values:VALUES")


def test_critics_are_those_of_the_registry() -> None:
    named = {critic for values in contents("critic").values() for critic in values["weights"]}
    assert named == set(registry("judges.critics.base:CRITICS"))


def test_families_are_those_of_the_world() -> None:
    assert set(contents("env")) == {"families", *registry("envs.scenarios:FAMILIES"), *SCENES}


def test_scenes_are_read_from_where_they_are_said_to_be() -> None:
    config = compose(["env=sotopia", "env.path=hf://owner/data.set@v1.0/a", "env.split=hard"])
    assert (config.env.path, config.env.split) == ("hf://owner/data.set@v1.0/a", "hard")
    assert (config.env.is_sotopia, config.env.has_scenes, config.env.max_turns) == (True, True, 20)
    assert (config.policy.prompt_style, config.policy.max_new_tokens) == ("full", 128)
    assert compose(["env=open", "policy.max_new_tokens=64"]).policy.max_new_tokens == 64
    assert compose(["env=open"]).env.has_scenes
    assert not compose([]).env.has_scenes


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["critic=random", "+critic.weights.value=1"], "critic.min_drop is not set"),
        (["objective.beta=null"], "objective.beta is not set, but objective.name=sdpo needs it"),
        (
            ["objective=dpo", "+objective.gamma=1"],
            "objective.gamma is set, but objective.name=dpo has no such option",
        ),
        (["env=price", "env.families.price=0"], "at least one is above 0"),
        (["pairing=segment", "pairing.max_segment_turns=null"], "max_segment_turns is not set"),
        (["pairing=turn", "pairing.max_segment_turns=3"], "not an option of the chosen files"),
        (["env=sotopia"], "env.path is not set; set env.path=VALUE"),
        (["env=sotopia", "env.path=null"], "env.path is not set, but env=sotopia needs it"),
        (
            ["env=sotopia", "env.path=a", "env.split=easy"],
            "env.split is 'easy', but must be all or",
        ),
        (["env=sotopia", "env.path=a", "+env.families.price=1"], "a fixed list of combinations"),
        (["env=price", "+env.path=a"], "env.path is set, but only env=sotopia reads files"),
        (["env=open", "policy.prompt_style=brief"], "in plain English; set policy.prompt_style"),
        (["policy=checkpoint"], "policy.name is not set; set policy.name=VALUE"),
        (
            ["policy=checkpoint", "policy.name=x", "policy.prompt_style=brief"],
            "policy.constrained is true, but prompt style brief has no pattern; set policy.constr",
        ),
        (
            [
                "partner=checkpoint",
                *(f"partner.checkpoint.{w}" for w in ("name=x", "prompt_style=brief")),
            ],
            "partner.checkpoint.constrained is true, but prompt style brief has no pattern",
        ),
        (
            ["policy=api", "policy.model.name=x", "policy.constrained=true"],
            "no engine here generates the turns of a model behind an API",
        ),
        (["objective.eta=1"], "objective.eta is not an option of the chosen files"),
        (["pairing=win_rate"], "objective=sdpo learns from pairs, but pairing=win_rate makes none"),
        (["pairing=expert"], "learns from an expert's turns, but branch.source is policy"),
        (["branch.source=experts"], "hold an expert's turns against an expert's; set pairing.sid"),
        (
            ["pairing=step", "pairing.sides=halves"],
            "pairing.name=step has no such option; leave it",
        ),
        (["pairing=turn", "pairing.rejected_segment_turns=2"], "not an option of the chosen files"),
        (["reference=average", "reference.decay=null"], "reference.decay is not set, but"),
        (["pairing=step", "pairing.verified_goal=null"], "pairing.verified_goal is not set, but"),
    ],
)
def test_options_at_odds_are_explained(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    assert sentence in str(caught.value)


def test_located_share_is_relative() -> None:
    weights = ["critic.weights.value=3", "critic.weights.random=1"]
    assert compose(["critic=mixed", *weights]).critic.located_share == 0.75


@pytest.mark.parametrize(
    "word",
    [
        "output_root='${oc.env:SECRET}'",
        "output_root='runs/${oc.env:SECRET,none}'",
        "policy.name='${oc.decode:${oc.env:SECRET}}'",
        "name=env output_root='${oc.${name}:SECRET}'",
    ],
)
def test_no_option_is_filled_from_the_environment(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "sk-canary")
    with pytest.raises(ConfigError, match="where a secret would stand in clear") as caught:
        compose(word.split())
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_the_name_of_a_variable_may_come_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHICH", "SERVER_KEY")
    words = ["partner=server", "partner.model.name=m"]
    model = compose([*words, "++partner.model.api_key_env='${oc.env:WHICH}'"]).partner.model
    assert model is not None
    assert model.api_key_env == "SERVER_KEY"


def test_every_option_can_be_set_without_a_sign() -> None:
    """Hydra refuses what neither a file nor (by our help) the dataclass gives a value."""
    in_files = dotted(yaml.safe_load(Path(CONF_DIR, "config.yaml").read_text()))
    for group in groups():
        for values in contents(group).values():
            in_files |= dotted(values) | dotted({group: values})
    weights = ("env.families.", "partner.weights.", "critic.weights.")
    known = {n for n in option_names(RunConfig) if not n.startswith(weights)}
    ours = {name for name in known if with_defaulted([f"{name}=1"]) == [f"++{name}=1"]}
    assert known - ours - in_files == set()


def test_an_option_whose_default_is_in_the_dataclass_can_be_set() -> None:
    assert "update.max_grad_norm" in defaults(RunConfig)
    assert compose(["update.max_grad_norm=2.5"]).update.max_grad_norm == 2.5
