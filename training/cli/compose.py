"""From the words of the command line to a checked configuration, by Hydra."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs.errors import ConfigError
from envs.options import defaults, option_names
from envs.registry import outside_conf_folders
from training.cli.model_choice import with_model_options
from training.config import RunConfig, from_mapping


def _by_size(small: Any, large: Any, *, _root_: DictConfig) -> Any:
    """`${by_size:SMALL,LARGE}` in a file: a value for either size of model."""
    return large if _root_.size == "large" else small


OmegaConf.register_new_resolver("by_size", _by_size, replace=True)


def _environment(variable: str, default: Any = None, *, _node_: Node) -> Any:
    """`${oc.env:NAME}`: refused where the value, which may be a secret, would be written down.

    All options are written into a run's config.yaml. Those that only name a variable may be taken
    from another one.

    Raises:
        ConfigError: the option is no `api_key_env`.
    """
    option = _node_._get_full_key(None)
    if not option.endswith("api_key_env"):
        raise ConfigError(
            f"{option} takes its value from the environment variable {variable}, but all options "
            "are written into config.yaml, where a secret would stand in clear; let the shell put "
            "the value in, or, for a key, give the variable's name: api_key_env=NAME."
        )
    return os.environ.get(variable, default)


OmegaConf.register_new_resolver("oc.env", _environment, replace=True)

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"


_users_folders: list[Path] = []
"""Folders with files of groups that the command line names."""


class OutsideConf(SearchPathPlugin):
    """Lets Hydra find the `conf` folders of packages that add components, and those of the user."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them behind ours, so that nobody can replace one of our files."""
        for folder in _conf_folders()[1:]:
            search_path.append("parley-components", f"file://{folder}")


def _conf_folders() -> list[Path]:
    return [CONF_DIR, *outside_conf_folders(), *_users_folders]


def add_conf_folder(folder: str) -> None:
    """Find files of groups in a folder of the user's, too: FOLDER/GROUP/NAME.yaml.

    Raises:
        ConfigError: there is no such folder, or no file of a group in it, or one has a name that is
            taken.
    """
    place = Path(folder).resolve()
    files = sorted(place.glob("*/*.yaml"))
    if not files:
        fault = "holds no file GROUP/NAME.yaml" if place.is_dir() else "does not exist"
        raise ConfigError(
            f"--config-dir is {folder!r}, but that folder {fault}; give one with files of groups, "
            f"such as {folder}/scale/mine.yaml."
        )
    for file in files:
        group = file.parent.name
        if place not in _users_folders and file.stem in groups().get(group, []):
            raise ConfigError(
                f"{file} has the name of a file that is there already, which {group}={file.stem} "
                "chooses; give it another name."
            )
    if place not in _users_folders:
        _users_folders.append(place)


Plugins.instance().register(OutsideConf)


def compose(overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that the same words on the command line would give."""
    try:
        return to_run_config(composed(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise reworded(error) from error


def composed(overrides: Sequence[str]) -> DictConfig:
    """The same as Hydra composes it: unchecked, and without defaults that are in no file."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        try:
            return hydra.compose("config", with_defaulted(with_model_options(overrides).words))
        except (HydraException, OmegaConfBaseException) as error:
            raise reworded(error) from error


def groups() -> dict[str, list[str]]:
    """Every configuration group and the names of its files."""
    found: dict[str, set[str]] = {}
    for root in _conf_folders():
        for file in root.glob("*/*.yaml"):
            found.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(found.items())}


def file_of(group: str, name: str) -> Path:
    """The file that GROUP=NAME chooses, one of `groups()`."""
    files = (root / group / f"{name}.yaml" for root in _conf_folders())
    return next(file for file in files if file.is_file())


def with_defaulted(words: Iterable[str]) -> list[str]:
    """Let options be set that Hydra misses: those with a default of ours, and further weights."""
    names = set(option_names(RunConfig))
    weights = {name for name in names if name.rpartition(".")[0] in names}
    known = {*defaults(RunConfig), *weights, *(name.rpartition(".")[0] for name in weights)}
    known |= {name for name in names if name.startswith("invent.")}  # which is in no file
    return [f"++{word}" if word.partition("=")[0] in known else word for word in words]


def reworded(error: Exception) -> ConfigError:
    """What Hydra or OmegaConf found wrong, as a sentence of ours."""
    said = str(error).strip()
    if isinstance(error.__cause__, ConfigError):  # of a resolver of ours
        return error.__cause__
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"{error.override!r} cannot be read; expected KEY=VALUE, such as seed=1;"
            " --help lists the keys."
        )
    if match := re.search(r"Could not override '([^']+)'", said):
        return ConfigError(
            f"{match[1]} is not an option of the chosen files."
            f" {_chosen_instead(match[1])}--cfg job shows those that are."
        )
    return ConfigError(f"The options cannot be combined: {' '.join(said.split())}")


def to_run_config(options: DictConfig) -> RunConfig:
    """A composed configuration as typed, checked options."""
    for name in sorted(OmegaConf.missing_keys(options)):
        raise ConfigError(f"{name} is not set; set {name}=VALUE.")
    plain = OmegaConf.to_container(options, resolve=True)
    return from_mapping(cast(dict[str, Any], plain))


def chosen_words() -> list[str]:
    """The words of the run that Hydra does now, one of a sweep."""
    return [str(word) for word in HydraConfig.get().overrides.task]


def _chosen_instead(name: str) -> str:
    group = name.partition(".")[0]
    others = groups().get(group, [])
    return f"Another {group} ({', '.join(others)}) may have it; " if others else ""
