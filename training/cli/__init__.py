"""The command line: options in, a checked configuration out. Nothing else knows Hydra."""

from __future__ import annotations

import sys

from envs.errors import ConfigError
from training.preflight.packages import check_places

try:
    check_places()  # before anything imports what is called `judges`, say
except ConfigError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(2) from None
