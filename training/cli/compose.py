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


class OutsideConf(SearchPathPlugin):
    """Lets Hydra find the `conf` folders of other packages that add components."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them behind ours, so that no other package can replace one of our files."""
        for folder in outside_conf_folders():
            search_path.append("parley-components", f"file://{folder}")


Plugins.instance().register(OutsideConf)


def compose(overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that the same words on the command line would give."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        try:
            words = with_defaulted(with_model_options(overrides).words)
            return to_run_config(hydra.compose("config", words))
        except (HydraException, OmegaConfBaseException) as error:
            raise reworded(error) from error


def groups() -> dict[str, list[str]]:
    """Every configuration group and the names of its files."""
    found: dict[str, set[str]] = {}
    for root in (CONF_DIR, *outside_conf_folders()):
        for file in root.glob("*/*.yaml"):
            found.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(found.items())}


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
