"""Training: the loop, its commands, and the rooms that data passes through.

`loop.py` is the algorithm. `evaluate.py`, `calibrate.py`, `compare.py`, `compare_methods.py`,
`study.py` and `pretrain.py` are the other commands. Imports between the folders go one way:
cli, then builders and preflight, report, evaluation, learning, play, storage, config, methods.
"""
