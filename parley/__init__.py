"""Parley: train language-model agents to be better at talking to others.

    import parley

    run = parley.train("sotopia_sdpo", scale="smoke")
    result = parley.evaluate(run.checkpoint, partner="scripted")
    print(parley.play(lambda history: "/accept", "experts", scenarios="price/test/0")[0])

Importing it registers the Gymnasium environment `parley/Social-v0`. It imports neither torch nor
any model; what needs them loads them when it is called.
"""

from agents.function import History
from envs import GYM_ID
from envs.errors import ParleyError
from envs.gym import make
from envs.scenarios import draw, scenario_of
from training.api.commands import compare, evaluate, train
from training.api.dialogues import Dialogue, judge_episode, judge_lines, play
from training.api.results import Comparison, Evaluation, TrainingRun, load

__all__ = [
    "GYM_ID",
    "Comparison",
    "Dialogue",
    "Evaluation",
    "History",
    "ParleyError",
    "TrainingRun",
    "compare",
    "draw",
    "evaluate",
    "judge_episode",
    "judge_lines",
    "load",
    "make",
    "play",
    "scenario_of",
    "train",
]
