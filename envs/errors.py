"""All errors that Parley raises on purpose.

    ParleyError
    |-- ConfigError          an option is missing, misspelt, out of range or at odds with another
    |-- DataError            a scenario, character or transcript file says something we cannot use
    |-- ActionError          an action that the rules do not allow now (in play: recorded)
    |-- OutOfTurnError       step() by an agent that is not to act
    |-- EpisodeOverError     step() after the end
    |-- EngineError          text generation failed, or engine and trainer disagree
    |   `-- PromptError      a prompt is too long for the model (recorded)
    |-- RemoteError          a model behind an API gave no answer in spite of all retries (recorded)
    |-- OutageError          a model behind an API answers nobody; the run stops and can be resumed
    |-- BudgetError          the next call might cost more than the budget has left
    |-- StoreError           the store is locked, damaged or of another run
    |-- DiskError            a file cannot be written: the disk is full, or it may not be
    |-- TrainingError        an update cannot be made from these examples, or its numbers blow up
    |-- CheckpointError      a checkpoint is incomplete or does not match its manifest
    `-- UnscoredError        a judge could not score an episode (recorded as unscored, never as 0)

Each message says what was got, what was expected and what to do.
"""

from __future__ import annotations

FOREIGN_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the code of somebody's model may raise about what it was not made for."""


def in_one_line(error: BaseException, most: int = 200) -> str:
    """The first characters of what another library's error says, for a sentence of ours."""
    return " ".join(str(error).split())[:most]


def quoted(value: object, most: int = 80) -> str:
    """What was got from outside, for a sentence of ours: printable, on one line, and cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        text = f"a large {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


class ParleyError(Exception):
    """The base of all errors of this package."""


class ConfigError(ParleyError):
    """An option is missing, misspelt, out of range or at odds with another."""


class DataError(ParleyError):
    """A scenario, character or transcript file says something we cannot use."""


class ActionError(ParleyError):
    """An action that the rules do not allow now."""


class OutOfTurnError(ParleyError):
    """An agent acted although it was not to act."""


class EpisodeOverError(ParleyError):
    """An agent acted although the episode had ended."""


class EngineError(ParleyError):
    """Text generation failed, or engine and trainer disagree about the weights."""


class PromptError(EngineError):
    """A prompt with its reply is longer than the model reads: this dialogue goes no further."""


class RemoteError(ParleyError):
    """A model behind an API gave no answer in spite of all retries.

    Attributes:
        may_pass: whether the same request may succeed at another time: the server failed, and did
            not refuse it.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class OutageError(ParleyError):
    """A model behind an API answers nobody any more; the run stops here and can be resumed."""


class BudgetError(ParleyError):
    """The next call might cost more, or be one more, than is allowed; the run stops here."""


class StoreError(ParleyError):
    """The store is locked, damaged or belongs to another run."""


class DiskError(ParleyError):
    """A file cannot be written: the disk is full, or it may not be."""


class TrainingError(ParleyError):
    """An update cannot be made from these examples, or its numbers are not finite."""


class CheckpointError(ParleyError):
    """A checkpoint is incomplete or does not match its manifest."""


class UnscoredError(ParleyError):
    """A judge could not score an episode."""
