"""The options of a chat model behind an API, and how components that use one are built."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from engines.chat import Chat
from envs.options import Count, NonNegative, Positive
from envs.registry import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A chat model behind an API: a partner, a judge, a critic, or a policy to be measured.

    Attributes:
        name: its provider's name for it with the snapshot ("gpt-4o-2024-11-20"), behind litellm's
            prefix for providers other than OpenAI ("anthropic/..."); or that of the server at
            `base_url`.
        base_url: of an OpenAI-compatible server (vLLM, llama.cpp, Ollama), such as
            http://127.0.0.1:8000/v1; it is called directly. None: litellm finds the provider.
        api_key_env: the NAME of the environment variable that holds the key; never the key.
        temperature: None for models that take none.
        max_tokens: a reply is cut after that many tokens.
        timeout_s: of one attempt, seconds.
        input_usd_per_mtok, output_usd_per_mtok: dollars per million tokens, where the price is not
            known or is another one. A server on this machine is free without them.
        weights_version: any text that distinguishes weights which a server has under one name; ""
            where they do not change.
        prompt_style: of players: "brief" for the line language of the small model, "full" for plain
            English with SOTOPIA's JSON actions.
        prose_is_speech: of players in style "full": whether a reply without JSON is said aloud;
            else it is an invalid action.
    """

    name: str
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: NonNegative | None = None
    max_tokens: Count = 512
    timeout_s: Positive = 60.0
    input_usd_per_mtok: NonNegative | None = None
    output_usd_per_mtok: NonNegative | None = None
    weights_version: str = ""
    prompt_style: Literal["brief", "full"] = "full"
    prose_is_speech: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run provides to judges, critics and players when they are built.

    Attributes:
        seed: of the run.
        chat: returns the client of a model behind an API; each model has one client in a run.
    """

    seed: int
    chat: Callable[[ModelConfig], Chat]


def built(component: Component, options: Any, resources: Resources) -> Any:
    """Build a component with its options.

    A class is called with its options as keyword arguments, a function as `make(options,
    resources)`.
    """
    if inspect.isclass(component.make):
        return component.make(**{f.name: getattr(options, f.name) for f in fields(options)})
    return component.make(options, resources)


def models_in(options: dict[str, Any], path: str = "") -> dict[str, ModelConfig]:
    """Every chat model in options, by the dotted name of the option that names it."""
    found: dict[str, ModelConfig] = {}
    for name, value in options.items():
        whole = f"{path}.{name}" if path else name
        if isinstance(value, ModelConfig):
            found[whole] = value
        elif isinstance(value, dict):
            found |= models_in(value, whole)
    return found
