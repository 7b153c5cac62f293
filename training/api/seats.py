"""Who takes a seat, as Python names it: a function, a player, or the name of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from agents.base import Player
from agents.function import AgentFunction, FunctionPlayer
from agents.registry import PLAYERS, PlayerSpec
from engines.batcher import Batcher
from engines.models import Resources, built
from envs.errors import ConfigError
from envs.options import did_you_mean
from envs.registry import NoOptions
from training.api.options import configured

Seated = Player | AgentFunction | str | Path
"""A function from a `History` to text, a `Player`, the name of a registered player ("experts",
"human"), "embedded", a checkpoint of a run, or the folder of a model."""

FREE_NAME = "agent"
"""The name of a player that has none of its own, such as a lambda."""


def is_own(seated: object) -> bool:
    """Whether it is a function or a player of the user's own, and not a name."""
    return not isinstance(seated, str | Path)


def own_player(seated: Player | AgentFunction) -> Player:
    """A player, or a function as one.

    Raises:
        ConfigError: it is neither.
    """
    if hasattr(seated, "sit"):
        return cast(Player, seated)
    if not callable(seated):
        raise ConfigError(
            f"got a {type(seated).__name__} as an agent, expected a function that takes a history "
            "and returns text, a player with a method sit(), or a name."
        )
    return FunctionPlayer(seated, name_of(seated))


def name_of(seated: object) -> str:
    """The name of a player of the user's own, as options have it."""
    name = getattr(seated, "id", None) or getattr(seated, "__name__", None)
    words = re.sub(r"\W+", "_", str(name or type(seated).__name__)).strip("_")
    return words if re.match(r"[A-Za-z]", words) and words != "lambda" else FREE_NAME


@contextmanager
def as_partner(seated: Player | AgentFunction) -> Iterator[dict[str, Any]]:
    """In the block a player of the user's own is registered; yields options that choose it alone.

    Raises:
        ConfigError: a player of that name is registered already.
    """
    player = own_player(seated)

    def make(options: NoOptions, resources: Resources) -> Player:
        return player

    name = name_of(player)
    with PLAYERS.lent(PlayerSpec(name=name, make=make)):
        yield {"partner": "self", "partner.weights.self": 0, f"partner.weights.{name}": 1}


@contextmanager
def players_of(seats: Sequence[Seated], seed: int) -> Iterator[tuple[list[Player], Batcher]]:
    """In the block the players of some seats, with models that are named loaded and batched.

    Raises:
        ConfigError: a name is unknown, or a model cannot be loaded.
    """
    with ExitStack() as closing:
        batcher = Batcher()
        yield [_player(seated, seed, batcher, closing.callback) for seated in seats], batcher


def _player(seated: Seated, seed: int, batcher: Batcher, on_close: Callable[..., object]) -> Player:
    if not isinstance(seated, str | Path):
        return own_player(seated)
    if str(seated) in PLAYERS:
        return _registered(str(seated), seed)
    return _model(str(seated), batcher, on_close)


def _registered(name: str, seed: int) -> Player:
    def nobody(model: object) -> Any:
        raise ConfigError(
            f"The player {name} asks a model behind an API, whose calls are counted in a run's "
            "folder; use parley.evaluate(..., partner=...), or call your client in a function."
        )

    spec = PLAYERS[name]
    player: Player = built(spec, spec.options(), Resources(seed=seed, chat=nobody))
    return player


def _model(name: str, batcher: Batcher, on_close: Callable[..., object]) -> Player:
    from agents.chat_template import ChatTemplate
    from training.builders.players import for_patterns, seat_model, stop_tokens
    from training.config.play import BUILT_IN_POLICIES
    from training.learning.stage0 import first_model
    from training.play.engines import Engines

    if name not in BUILT_IN_POLICIES and not name.startswith("hf://") and not Path(name).exists():
        known = (*PLAYERS, *BUILT_IN_POLICIES)
        raise ConfigError(
            f"There is no player {name}.{did_you_mean(name, known)} A seat is taken by a function, "
            f"{', '.join(known)}, a checkpoint of a run or the folder of a model."
        )
    config = configured({"policy.name": name})
    model, tokenizer = first_model(config)
    stream = ChatTemplate(tokenizer, thinking=config.policy.thinking)
    engines = Engines(config.engine, batcher)
    on_close(engines.close)
    engine = engines.load(
        model,
        stop_tokens(model, tokenizer, stream),
        changes=False,
        tokenizer=for_patterns(tokenizer, config.policy),
    )
    return seat_model(name, engine, stream, config.policy)
