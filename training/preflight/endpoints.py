"""Checks the models behind APIs that a run will call: keys, servers, prices, retirement dates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from engines.remote.client import price_at
from engines.remote.endpoint import Endpoint, read_key
from engines.remote.prices import SELF_HOSTED, retirement_of, why_unknown
from envs.errors import ConfigError
from training.config import RunConfig, models
from training.config.endpoint import ANSWERS, endpoint_of
from training.preflight.servers import ask_for_models

NOTICE_DAYS = 180
"""Warn of a model that its maker retires within this many days."""

_VARIABLE_NAME = re.compile("[A-Z_][A-Z0-9_]*")
"""Names of environment variables; keys themselves contain small letters or dashes."""


def check_calls(config: RunConfig) -> None:
    """Check for what would make the first call fail; a dry run skips keys and servers.

    Raises:
        ConfigError: a key is not set or is refused, a server cannot be reached, litellm is needed
            but not installed or does not know the model, the file of answers to replay is missing,
            or a budget is set although a price is unknown.
    """
    called = models(config)
    for option, model in called.items():
        if model.api_key_env is not None and not _VARIABLE_NAME.fullmatch(model.api_key_env):
            raise ConfigError(  # without quoting the value, which may be a key
                f"{option}.api_key_env is no name of an environment variable in capital letters; "
                "put the key into a variable and give that one's name, such as OPENAI_API_KEY."
            )
        endpoint = endpoint_of(model)
        if config.budget_usd is not None and price_at(endpoint) is None:
            raise ConfigError(
                f"budget_usd is set and needs the price of {option}, but {why_unknown(model.name)} "
                "Or set budget_usd=null, and limit the calls by max_calls."
            )
    if called and config.api.offline:
        _check_answers(config)
    elif not config.dry_run:
        for option, model in called.items():
            check_endpoint(option, endpoint_of(model))


def _check_answers(config: RunConfig) -> None:
    """Check that an offline run has a file of answers to replay."""
    file = Path(config.resume, ANSWERS) if config.resume else None
    if config.api.answers_file:
        file = Path(config.api.answers_file)
    if file is None or not file.is_file():
        fault = "a new run has none of its own" if file is None else f"there is no {file}"
        raise ConfigError(
            f"api.offline is true, so that all answers come from a file, but {fault}; set "
            "api.answers_file to the answers.sqlite of the run that is to be replayed."
        )


def check_endpoint(option: str, endpoint: Endpoint) -> None:
    """Check that a model's server answers, or that litellm knows the model and has its key.

    Raises:
        ConfigError: see `check_calls`.
    """
    if endpoint.base_url is not None:
        ask_for_models(option, endpoint)
        return
    read_key(endpoint)
    from engines.remote.litellm_transport import import_litellm

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
    """Yield warnings, as sentences, that a user should read before money is spent."""
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
            yield from _endpoint_warnings(option, endpoint, config.dry_run)


def _endpoint_warnings(option: str, endpoint: Endpoint, is_dry: bool) -> Iterator[str]:
    """Warn of errors that would end the run, if it is a dry run, and of unlisted model names."""
    if is_dry:
        try:
            check_endpoint(option, endpoint)
        except ConfigError as error:
            yield str(error)
            return
    if endpoint.base_url is None:
        return
    listed = ask_for_models(option, endpoint)
    if listed and endpoint.model not in listed:  # some servers take any name or know aliases
        shown = ", ".join(listed[:5]) + (" and others" if len(listed) > 5 else "")
        yield (
            f"{option}: {endpoint.base_url} has {shown}; if it does not know {endpoint.model} "
            "either, the run stops at the first call."
        )
