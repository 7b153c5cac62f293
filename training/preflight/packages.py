"""Our top-level packages, and whether Python finds them where ours lie; imports none of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

OUR_PACKAGES = ("envs", "engines", "agents", "judges", "training", "conf", "parley")

_ROOT = Path(__file__).resolve().parents[2]


def misplaced() -> str | None:
    """A sentence on another package of one of our names that comes first on Python's path."""
    for name in OUR_PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != _ROOT / name:
            return (
                f"The package {name!r} was expected at {_ROOT / name} but found at {found};"
                " start Parley in a folder without that one, by the command parley, which does not"
                " look there, or in a virtual environment of its own."
            )
    return None
