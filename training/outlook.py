"""What can be known of a run's calls to APIs before the first one: keys, prices, last days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from engines.remote.client import price_at
from engines.remote.prices import Price, retirement_of, why_unknown
from engines.remote.transport import Endpoint, read_key
from envs.errors import ConfigError
from training.config import ModelConfig, RunConfig, models

NOTICE_DAYS = 180
"""A model that is withdrawn within that many days is warned of."""


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
        timeout_s=model.timeout_s,
    )


def check_calls(config: RunConfig) -> None:
    """Check whatever would make the first call fail.

    Raises:
        ConfigError: a key is not set, litellm is needed and not installed, or a budget is set that
            cannot be kept, for a price is not known.
    """
    for option, model in models(config).items():
        endpoint = endpoint_of(model)
        if config.budget_usd is not None and price_at(endpoint) is None:
            raise ConfigError(
                f"budget_usd is set, but {why_unknown(model.name)} ({option}.name; or set "
                "budget_usd=null)"
            )
        if not config.api.offline:
            _check_key(option, endpoint)


def _check_key(option: str, endpoint: Endpoint) -> None:
    read_key(endpoint)
    if endpoint.base_url is not None:
        return
    from engines.remote.providers import import_litellm

    litellm = import_litellm()
    if endpoint.api_key_env is not None:
        return
    known = litellm.validate_environment(model=endpoint.model)
    if missing := [] if known["keys_in_environment"] else known["missing_keys"]:
        raise ConfigError(
            f"The environment variable {' or '.join(missing)} is not set, but {endpoint.model} "
            f"needs it; set it, or name another one with {option}.api_key_env."
        )


def warnings(config: RunConfig, today: date) -> Iterator[str]:
    """What a user should know before money is spent, in sentences."""
    for option, model in models(config).items():
        endpoint = endpoint_of(model)
        if price_at(endpoint) is None:
            yield f"{option}: {why_unknown(model.name)} Its calls are counted, their cost is not."
        last_day = None if endpoint.base_url else retirement_of(model.name)
        if last_day is not None and (days := (last_day - today).days) <= NOTICE_DAYS:
            when = f"in {days} days" if days > 0 else f"{-days} days ago"
            yield (
                f"{option}: {model.name} is withdrawn by its maker on {last_day} ({when}). Keep "
                "the run's answers.sqlite: with api.answers_file its results can be replayed."
            )
