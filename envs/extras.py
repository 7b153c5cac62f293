"""How optional packages are installed: a command that works from a checkout and from a wheel alike.

Parley is on no package index under a name that pip could be given, so its extras are named by the
packages that they consist of.
"""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, metadata, requires

DISTRIBUTION = "parley-rl"


def extras() -> tuple[str, ...]:
    """The names of all extras; none where Parley runs without having been installed."""
    try:
        return tuple(metadata(DISTRIBUTION).get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return ()


def packages_of(extra: str) -> tuple[str, ...]:
    """The requirements of an extra, such as ("gguf>=0.17", "accelerate")."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return ()
    marked = re.compile(rf"""(.*?)\s*;\s*extra\s*==\s*["']{re.escape(extra)}["']""")
    return tuple(found[1].replace(" ", "") for line in lines if (found := marked.fullmatch(line)))


def install(extra: str) -> str:
    """The command that installs an extra."""
    packages = packages_of(extra)
    return f"pip install {shlex.join(packages)}" if packages else f"pip install -e '.[{extra}]'"
