"""Critics by name."""

from __future__ import annotations

from collections.abc import Callable

from judges.critics.base import Critic
from judges.critics.llm import LlmCritic
from judges.critics.measured import FirstErrorCritic, ValueCritic
from judges.critics.unmeasured import RandomCritic, StartCritic

CRITICS: dict[str, Callable[..., Critic]] = {
    "value": ValueCritic,
    "first": FirstErrorCritic,
    "start": StartCritic,
    "random": RandomCritic,
    "llm": LlmCritic,
}
"""Every critic by its id."""
