"""Options of the engine behind the models that are loaded here, and of the logger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from engines.registry import ENGINES, EngineSpec
from envs.options import Chosen, OneOf
from envs.registry import Component, Registry
from training.loggers import LOGGERS

EngineName = Annotated[str, OneOf(lambda: ENGINES)]
LoggerName = Annotated[str, OneOf(lambda: LOGGERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(Chosen):
    """The engine that generates text, with its own options."""

    name: EngineName = "local"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[EngineSpec]:
        return ENGINES

    @property
    def spec(self) -> EngineSpec:
        """The chosen engine."""
        return ENGINES[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerConfig(Chosen):
    """Where metrics go beside metrics.jsonl, which every run writes."""

    name: LoggerName
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[Component]:
        return LOGGERS
