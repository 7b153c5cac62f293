"""Train the small model that ships with the package by one iteration of SDPO, and look at it.

`scale="smoke"` does every step once, in about a minute; leave it out for a real run.
"""

import parley

run = parley.train("sotopia_sdpo", scale="smoke", threads=1)
assert run is not None  # only a dry run returns none
print(run)
print("newest checkpoint:", run.checkpoint)
print("pairs it learned from:", run.metrics[-1]["examples"])
print("gain over its clone:", run.difference("goal", partner="self"))
