"""The command line: options in, a checked configuration out. Nothing else knows Hydra."""

from __future__ import annotations

import sys

from training.preflight.packages import misplaced

if (sentence := misplaced()) is not None:  # before anything imports what is called `envs`, say
    sys.stderr.write(f"error: {sentence}\n")
    raise SystemExit(2)
