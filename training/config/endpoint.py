"""Where a configured model behind an API is, and where its answers are kept."""

from __future__ import annotations

from engines.models import ModelConfig
from engines.remote.endpoint import Endpoint
from engines.remote.prices import Price
from envs.errors import ConfigError

ANSWERS = "answers.sqlite"
"""In a run's folder, what models answered."""


def endpoint_of(model: ModelConfig) -> Endpoint:
    """Where a configured model is, and what it charges where that was said.

    Raises:
        ConfigError: the server's address is not one, or half of a price is missing.
    """
    told = (model.input_usd_per_mtok, model.output_usd_per_mtok)
    if (told[0] is None) != (told[1] is None):
        raise ConfigError(
            f"{model.name} has one of input_usd_per_mtok and output_usd_per_mtok, expected both or "
            "neither; set the other one too."
        )
    price = None if told[0] is None or told[1] is None else Price(told[0], told[1])
    return Endpoint(
        model=model.name,
        base_url=model.base_url,
        api_key_env=model.api_key_env,
        price=price,
        weights_version=model.weights_version,
        timeout_s=model.timeout_s,
    )
