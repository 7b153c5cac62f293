"""What can be known of a run's calls to APIs before the first one: keys, prices, last days."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from engines.remote.client import price_at
from engines.remote.prices import SELF_HOSTED, retirement_of, why_unknown
from engines.remote.transport import Endpoint, read_key
from envs.errors import ConfigError
from training.config import RunConfig, models
from training.config.endpoint import ANSWERS, endpoint_of
from training.preflight.servers import ask_for_models

NOTICE_DAYS = 180
"""A model that is withdrawn within that many days is warned of."""

_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")
"""Keys themselves hold small letters or dashes."""


def check_calls(config: RunConfig) -> None:
    """Check whatever would make the first call fail; keys and servers not for a dry run.

    Raises:
        ConfigError: a key is not set or refused, a server cannot be reached, litellm is needed and
            not installed or knows no such model, the answers to be replayed are not there, or a
            budget is set that cannot be kept, for a price is not known.
    """
    asked = models(config)
    for option, model in asked.items():
        if model.api_key_env is not None and not _VARIABLE.fullmatch(model.api_key_env):
            raise ConfigError(  # does not quote it, for it may be a key
                f"{option}.api_key_env is no name of an environment variable in capital letters; "
                "put the key into a variable and give that one's name, such as OPENAI_API_KEY."
            )
        endpoint = endpoint_of(model)
        if config.budget_usd is not None and price_at(endpoint) is None:
            raise ConfigError(
                f"budget_usd is set and needs the price of {option}, but {why_unknown(model.name)} "
                "Or set budget_usd=null, and limit the calls by max_calls."
            )
    if asked and config.api.offline:
        _check_answers(config)
    elif not config.dry_run:
        for option, model in asked.items():
            check_way(option, endpoint_of(model))


def _check_answers(config: RunConfig) -> None:
    """Whoever calls nobody has answers."""
    file = Path(config.resume, ANSWERS) if config.resume else None
    if config.api.answers_file:
        file = Path(config.api.answers_file)
    if file is None or not file.is_file():
        fault = "a new run has none of its own" if file is None else f"there is no {file}"
        raise ConfigError(
            f"api.offline is true, so that all answers come from a file, but {fault}; set "
            "api.answers_file to the answers.sqlite of the run that is to be replayed."
        )


def check_way(option: str, endpoint: Endpoint) -> None:
    """Check that calls can be made to a model.

    Raises:
        ConfigError: see `check_calls`.
    """
    if endpoint.base_url is not None:
        ask_for_models(option, endpoint)
        return
    read_key(endpoint)
    from engines.remote.providers import import_litellm

    litellm = import_litellm()
    try:
        maker = litellm.get_llm_provider(endpoint.model)[1]
    except litellm.BadRequestError:
        raise ConfigError(
            f"{option}.name is {endpoint.model}, of which litellm does not know the maker; write "
            "MAKER/MODEL as in litellm's list, or set base_url for a server of your own."
        ) from None
    if endpoint.api_key_env is not None or maker in SELF_HOSTED:
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
        if not config.api.offline:
            yield from _about_the_way(option, endpoint, config.dry_run)


def _about_the_way(option: str, endpoint: Endpoint, is_dry: bool) -> Iterator[str]:
    """What would end a run that is only tried, and names that a server does not list."""
    if is_dry:
        try:
            check_way(option, endpoint)
        except ConfigError as error:
            yield str(error)
            return
    if endpoint.base_url is None:
        return
    listed = ask_for_models(option, endpoint)
    if listed and endpoint.model not in listed:  # some take any name, and some know others
        shown = ", ".join(listed[:5]) + (" and others" if len(listed) > 5 else "")
        yield (
            f"{option}: {endpoint.base_url} has {shown}; if it does not know {endpoint.model} "
            "either, the run stops at the first call."
        )
