"""Our top-level packages, and whether Python finds them where ours lie; imports none of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from envs.errors import ConfigError

OUR_PACKAGES = ("envs", "engines", "agents", "judges", "training", "conf", "parley")

_ROOT = Path(__file__).resolve().parents[2]


def check_places() -> None:
    """Check that each of our packages is found beside this one.

    Raises:
        ConfigError: another package of that name comes first on Python's path.
    """
    for name in OUR_PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != _ROOT / name:
            raise ConfigError(
                f"The package {name!r} was expected at {_ROOT / name} but found at {found};"
                " run from the checkout, or use a virtual environment of its own."
            )
