"""Finds mistakes that would make a run fail later; imports neither torch nor Hydra."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from agents.vocabulary import missing_words
from envs.errors import ConfigError
from envs.extras import DISTRIBUTION, install
from envs.scenarios import FAMILIES
from envs.scenarios.likeness import is_benchmark
from envs.scenarios.open_ended import read_scenes, scenes_of
from envs.scenarios.sotopia import needed_files
from training.config import RunConfig
from training.config.engine import EngineConfig
from training.config.play import API, BUILT_IN_POLICIES
from training.learning.sources.files import file_of
from training.preflight.endpoints import check_calls
from training.preflight.packages import OUR_PACKAGES, misplaced
from training.storage.hub import SCHEME, is_on_hub, read_address
from training.storage.learned import check_learned, players_by_name
from training.storage.model_source import check_local

_ROOT = Path(__file__).resolve().parents[2]


def check_before_start(config: RunConfig) -> None:
    """Check that everything that a run needs is on this machine.

    Raises:
        ConfigError: a model, scenario files, a library, the run to resume or a folder to write to
            is missing.
    """
    check_model(config.policy.name)
    if not config.dry_run:  # a dry run may be made on another machine than the run
        check_engine(config.engine)
        check_lora(config.lora.rank)
    if config.partner.weights.get("checkpoint") and config.partner.checkpoint is not None:
        check_model(config.partner.checkpoint.name, "partner.checkpoint.name")
    if config.demonstrator is not None:
        check_model(config.demonstrator.name, "demonstrations.checkpoint.name")
    for player in players_by_name(config):
        check_learned(player)
    check_policy_reads_scenes(config)
    check_scene_file(config)
    if config.env.is_protocol and config.env.path is not None and config.env.split is not None:
        check_sotopia(config.env.path, needed_files(config.env.split))
    check_calls(config)
    if config.resume is not None:
        check_resume(config.resume)
    check_output(config.output_root)


def check_before_training(config: RunConfig) -> None:
    """Check that everything that a training run needs is on this machine.

    Raises:
        ConfigError: see `check_before_start`; or the options name something to train on, with or
            against that can only be evaluated.
    """
    if config.env.has_scenes:
        check_scenes_can_be_trained_on(config)
    if config.env.order == "simultaneous":
        raise ConfigError(
            "env.order is simultaneous, but a turn cannot be played again while the other side's "
            "turn of the same round stays as it was. Train with env.order=round_robin or random, "
            "and measure in any order with python -m training.evaluate."
        )
    check_demonstrations(config)
    if config.policy.name == API:
        raise ConfigError(
            "policy.name is api, but a model behind an API has no weights here to train; choose "
            "policy=embedded or policy=checkpoint, or measure it with python -m training.evaluate."
        )
    if any(spec.is_person for spec in config.partner.players.values()):
        raise ConfigError(
            "A person cannot play the thousands of episodes of a training run; leave human out of "
            "partner.weights, or play with python -m training.evaluate partner=human."
        )
    check_before_start(config)


def check_demonstrations(config: RunConfig) -> None:
    """Check that the demonstrations can be read, by the policy, too, and are to be had.

    Raises:
        ConfigError: they cannot, or drills are to go with them that no family has.
    """
    named = config.demonstrations
    if not config.cloning.dialogues or named.spec.needs_task:
        return
    if config.policy.prompt_style != "full":
        raise ConfigError(
            f"demonstrations is {named.name}, whose dialogues are in plain English, but "
            f"policy.prompt_style is {config.policy.prompt_style}; set policy.name to an "
            "instruction-tuned model, or choose demonstrations=experts."
        )
    if named.path is not None:
        file_of(named.path)
    if (named.min_kept or 0) > config.cloning.dialogues:
        raise ConfigError(
            f"demonstrations.min_kept is {named.min_kept}, but no more than cloning.dialogues, "
            f"{config.cloning.dialogues}, are taken; lower the one or raise the other."
        )
    if config.cloning.drills and not any(config.env.checkable.values()):
        raise ConfigError(
            f"cloning.drills is {config.cloning.drills}, but nothing in "
            f"{' and '.join(config.env.names)} can be calculated; set cloning.drills=0."
        )


def check_scene_file(config: RunConfig) -> None:
    """Check that a file of scenes can be read, and has some of the splits to play."""
    file = config.env.scene_file
    if file is None:
        return
    read_scenes(file)
    scenes_of(file, config.evaluation.split)


def check_scenes_can_be_trained_on(config: RunConfig) -> None:
    """Check that a run can learn from scenes whose goals no program checks.

    Raises:
        ConfigError: the judge cannot score them, experts would have to play them, the scenes are
            SOTOPIA's benchmark, or a folder is given instead of a file.
        DataError: the file of scenes is not as it should be.
    """
    env, names = config.env, " and ".join(config.env.scenes)
    if env.is_protocol:
        raise ConfigError(
            f"env.path is {env.path}, whose combinations are SOTOPIA's protocol, to measure on "
            "with python -m training.evaluate. To train, give a file of other scenes in the same "
            "format (env.path=FILE.jsonl), or choose env=open."
        )
    if env.scene_file is not None:
        for split in ("train", "dev"):
            scenes_of(env.scene_file, split)
        known = [r.env_id for r in read_scenes(env.scene_file) if is_benchmark(r)]
        if known and not env.train_on_benchmark:
            raise ConfigError(
                f"{env.scene_file} has {len(known)} of SOTOPIA's 90 benchmark scenes "
                f"({', '.join(known[:3])}{', ...' if len(known) > 3 else ''}), which are for "
                "measuring; take them out, or set env.train_on_benchmark=true, after which results "
                "on the benchmark say nothing about other scenes."
            )
    if config.judge.spec.sees_task:
        raise ConfigError(
            f"judge is {config.judge.name}, which scores goals by a program, but no program checks "
            f"those of {names}; choose judge=hybrid, judge=rubric or judge=panel."
        )
    if config.partner.weights.get("experts"):
        raise ConfigError(
            f"partner.weights has experts, but scripted experts cannot play the scenes of {names}; "
            "choose partner=self, partner=server or another."
        )
    if config.branch.source != "policy":
        raise ConfigError(
            f"branch.source is {config.branch.source}, but scripted experts cannot play the scenes "
            f"of {names}; set branch.source=policy."
        )
    is_cloned = config.cloning.dialogues and config.demonstrations.spec.needs_task
    if not any(env.checkable.values()) and is_cloned:
        raise ConfigError(
            f"cloning.dialogues is {config.cloning.dialogues}, but scripted experts cannot play "
            f"the scenes of {names}; choose demonstrations=self_chat or demonstrations=file, set "
            f"cloning.dialogues=0, or give families of {', '.join(FAMILIES)} a weight in "
            "env.families."
        )


def check_policy_reads_scenes(config: RunConfig) -> None:
    """Check that the small built-in models can read the scenes: their words, and no English."""
    if config.env.has_scenes and config.policy.name in BUILT_IN_POLICIES:
        raise ConfigError(
            f"policy.name is {config.policy.name}, but the scenes of "
            f"{' and '.join(config.env.names)} are in plain English, which the small model cannot "
            "read; set policy.name to the folder of an instruction-tuned Hugging Face model."
        )
    if config.policy.name != "embedded":
        return
    for family in config.env.names:
        if missing := missing_words([family]):
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ConfigError(
                f"policy.name is embedded, but the shipped small model does not know these words "
                f"of the family {family}: {shown}; choose policy=scratch, which learns them, or "
                "set policy.name to the folder of a Hugging Face model."
            )


def check_sotopia(path: str, names: Sequence[str]) -> None:
    """Check that SOTOPIA's files are in a folder; files on the hub are not looked up."""
    if is_on_hub(path):
        read_address(path)
        return
    missing = [name for name in names if not Path(path, name).is_file()]
    if missing:
        fault = "there is no such folder"
        if Path(path).is_dir():
            fault = f"that folder has no {', '.join(missing)}"
        raise ConfigError(
            f"env.path is {path!r}, but {fault}; give the folder with SOTOPIA's files, or "
            f"{SCHEME}OWNER/DATASET for a data set that holds them."
        )


def check_model(name: str, option: str = "policy.name") -> None:
    """Check that a model is built in, behind an API, on the hub, or in files that can be loaded."""
    if name in (*BUILT_IN_POLICIES, API):
        return
    if is_on_hub(name):
        read_address(name)
        return
    check_local(name, option)


def check_engine(engine: EngineConfig) -> None:
    """Check that the engine's library is installed, without importing it, which takes seconds."""
    library = engine.spec.library
    if library is not None and find_spec(library) is None:
        raise _not_installed(f"engine is {engine.name}", library, library, "choose engine=local")


def check_lora(rank: int | None) -> None:
    """Check that peft is installed if low-rank training is chosen."""
    if rank is not None and find_spec("peft") is None:
        raise _not_installed(f"lora.rank is {rank}", "peft", "lora", "set lora.rank=null")


def _not_installed(option: str, library: str, extra: str, instead: str) -> ConfigError:
    return ConfigError(
        f"{option}, but {library} is not installed; install it by {install(extra)}, or {instead}."
    )


def check_resume(run: str) -> None:
    """Check that the path to resume is the folder of a run."""
    for path in (Path(run), Path(run, "config.yaml"), Path(run, "store.sqlite")):
        if not path.exists():
            raise ConfigError(
                f"resume is {run!r}, but {path} does not exist; give the folder of a run, such as"
                " outputs/latest, or leave resume out to begin a new one."
            )


def check_output(root: str) -> None:
    """Check that the output folder can be written to, by trying: permissions do not tell all."""
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise ConfigError(
            f"output_root is {root!r}, but nothing can be written there"
            f" ({error.strerror}); set output_root to a folder of yours."
        ) from error


def check_packages() -> None:
    """Check that no other distribution has overwritten Parley's packages, such as `agents`."""
    owners = packages_distributions()
    if sentence := misplaced():
        raise ConfigError(sentence)
    for name in OUR_PACKAGES:
        for owner in owners.get(name, []):
            if owner != DISTRIBUTION and _shares_our_folder(owner):
                raise ConfigError(
                    f"The distribution {owner!r} also installs a package {name!r} and may have"
                    f" overwritten ours; give {DISTRIBUTION} a virtual environment of its own."
                )


def _shares_our_folder(owner: str) -> bool:
    return Path(str(distribution(owner).locate_file(""))).resolve() == _ROOT
