"""Says what is bound to fail before anything slow begins; imports neither torch nor Hydra."""

from __future__ import annotations

from importlib.metadata import distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from envs.errors import ConfigError
from training.config import RunConfig

OUR_PACKAGES = ("envs", "engines", "agents", "judges", "training", "conf")
DISTRIBUTION = "parley-rl"
BUILT_IN_POLICIES = ("embedded", "scratch")

_ROOT = Path(__file__).resolve().parents[1]


def check_before_start(config: RunConfig) -> None:
    """Check what the run needs on this machine.

    Raises:
        ConfigError: a model, a run to resume, a place to write or our own code is not there.
    """
    check_packages()
    check_model(config.policy.name)
    if config.resume is not None:
        check_resume(config.resume)
    check_output(config.output_root)


def check_model(name: str) -> None:
    """The policy is built in, or a folder with a Hugging Face model."""
    if name in BUILT_IN_POLICIES:
        return
    folder = Path(name)
    what = None
    if not folder.is_dir():
        what = "there is no such folder"
    elif not (folder / "config.json").is_file():
        what = "that folder has no config.json"
    elif not any(folder.glob("*.safetensors")):
        what = "that folder has no *.safetensors weights"
    if what:
        raise ConfigError(
            f"policy.name is {name!r}, but {what}; give the folder of a Hugging Face model, or"
            f" choose policy={' or policy='.join(BUILT_IN_POLICIES)}."
        )


def check_resume(run: str) -> None:
    """The run to go on with is a run's folder."""
    for path in (Path(run), Path(run, "config.yaml"), Path(run, "store.sqlite")):
        if not path.exists():
            raise ConfigError(
                f"resume is {run!r}, but {path} does not exist; give the folder of a run, such as"
                " outputs/latest, or leave resume out to begin a new one."
            )


def check_output(root: str) -> None:
    """The output folder can be made and written to; tried, because permissions do not tell all."""
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
    """Our packages are ours: names like `agents` are also those of others, and pip overwrites."""
    owners = packages_distributions()
    for name in OUR_PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != _ROOT / name:
            raise ConfigError(
                f"The package {name!r} was expected at {_ROOT / name} but found at {found};"
                " run from the checkout, or use a virtual environment of its own."
            )
        for owner in owners.get(name, []):
            if owner != DISTRIBUTION and _shares_our_folder(owner):
                raise ConfigError(
                    f"The distribution {owner!r} also installs a package {name!r} and may have"
                    f" overwritten ours; give {DISTRIBUTION} a virtual environment of its own."
                )


def _shares_our_folder(owner: str) -> bool:
    return Path(str(distribution(owner).locate_file(""))).resolve() == _ROOT
