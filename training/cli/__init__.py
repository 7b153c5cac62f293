"""The command line: options in, a checked configuration out. Nothing else knows Hydra."""

from __future__ import annotations

import os
import sys

from training.preflight.packages import misplaced

if (sentence := misplaced()) is not None:  # before anything imports what is called `envs`, say
    sys.stderr.write(f"error: {sentence}\n")
    raise SystemExit(2)

# Read by torch when it first allocates: without huge pages a CPU spends much of an update on
# the pages of tensors that come and go.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
