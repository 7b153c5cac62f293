"""Prices of models, and the dates when they are withdrawn.

Both come from the price file that litellm ships with. litellm itself is not imported, which would
take seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from envs.errors import FOREIGN_FAULTS, ConfigError
from envs.extras import install

Entries = Mapping[str, Mapping[str, Any]]
"""The content of litellm's price file: an entry for each model, by the model's name."""

SELF_HOSTED = frozenset({"ollama", "ollama_chat", "lemonade", "llamafile", "lm_studio"})
"""litellm's providers that are programs on the user's own machine, which cost nothing."""

_PRICE_FILE = "model_prices_and_context_window_backup.json"
_LONG_PROMPTS = re.compile(r"input_cost_per_token(_above_(\d+)(k?)_tokens)")
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_FINE_TUNING = re.compile(r"(:[^:]*){3}$")  # ft:gpt-4o-2024-08-06:organisation:suffix:id


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price in US dollars per million tokens; zeros mean free.

    Attributes:
        cached_usd_per_mtok: for prompt tokens that the provider found in its own cache; None is as
            for others.
        long_prompts: the price of calls with long prompts, if that is higher.
    """

    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_usd_per_mtok: float | None = None
    long_prompts: LongPrompts | None = None

    def __post_init__(self) -> None:
        rates = (self.input_usd_per_mtok, self.output_usd_per_mtok, self.cached_rate)
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ConfigError(
                f"a price per million tokens is 0 or more dollars, but {rates} was given: correct "
                "it, or write 0 and 0 for a model that costs nothing."
            )
        if self.cached_rate > self.input_usd_per_mtok:
            raise ConfigError(
                f"cached tokens at ${self.cached_rate} would cost more than others at "
                f"${self.input_usd_per_mtok}: leave cached_usd_per_mtok out."
            )
        longer = self.long_prompts.price if self.long_prompts else self
        if (
            longer.input_usd_per_mtok < self.input_usd_per_mtok
            or longer.output_usd_per_mtok < self.output_usd_per_mtok
        ):
            raise ConfigError("long prompts are given as cheaper than short ones: leave them out.")

    @property
    def cached_rate(self) -> float:
        """The price of cached prompt tokens, in dollars per million."""
        cached = self.cached_usd_per_mtok
        return self.input_usd_per_mtok if cached is None else cached

    @property
    def is_free(self) -> bool:
        """Whether no call costs anything."""
        rates = (self.input_usd_per_mtok, self.output_usd_per_mtok)
        return self.long_prompts is None and rates == (0, 0)

    def cost_nusd(
        self, prompt_tokens: int, completion_tokens: int, cached_prompt_tokens: int = 0
    ) -> int:
        """The cost of one call in nano-dollars, rounded up.

        Args:
            cached_prompt_tokens: how many of the prompt's tokens the provider found in its cache.
        """
        if self.long_prompts and prompt_tokens >= self.long_prompts.from_tokens:
            return self.long_prompts.price.cost_nusd(
                prompt_tokens, completion_tokens, cached_prompt_tokens
            )
        cached = min(cached_prompt_tokens, prompt_tokens)
        picos = (
            (prompt_tokens - cached) * _pico_usd_per_token(self.input_usd_per_mtok)
            + cached * _pico_usd_per_token(self.cached_rate)
            + completion_tokens * _pico_usd_per_token(self.output_usd_per_mtok)
        )
        return -(-picos // 1000)


@dataclass(frozen=True, slots=True)
class LongPrompts:
    """The price of calls with at least `from_tokens` prompt tokens, for all their tokens."""

    from_tokens: int
    price: Price


@lru_cache(maxsize=1024)
def price_of(model: str) -> Price | None:
    """A model's price by litellm's price file; None is unknown, and `why_unknown` says why."""
    entries = _installed_entries()
    return price_in({} if entries is None else entries, model)


@lru_cache(maxsize=1024)
def retirement_of(model: str) -> date | None:
    """The day from which a model is no longer served, None if that is not known."""
    entries = _installed_entries()
    return None if entries is None else retirement_in(entries, model)


def price_list_version() -> str | None:
    """The source of the prices, such as "litellm 1.106.2"; None when there is no price file."""
    if _installed_entries() is None:
        return None
    try:
        return f"litellm {version('litellm')}"
    except PackageNotFoundError:
        return "litellm"


def why_unknown(model: str) -> str:
    """Why `price_of` knows no price of a model, and what to do, as a sentence."""
    remedy = "give input_usd_per_mtok and output_usd_per_mtok (0 and 0 if it is free)"
    if (source := price_list_version()) is None:
        return (
            f"the price of {model} is unknown, because the price file of litellm is not installed: "
            f"{install('api')}, or {remedy}."
        )
    return f"the price of {model} is unknown to {source}: correct the name, or {remedy}."


def price_in(entries: Entries, model: str) -> Price | None:
    """A model's price by the entries of a price file.

    None for models that the file does not list or not in a form that is known here, that charge for
    anything but tokens, or whose price is 0 there although a provider charges for them.
    """
    provider, slash, _ = model.partition("/")
    if slash and provider in SELF_HOSTED:
        return Price(0.0, 0.0)
    unlisted_snapshot = (_SNAPSHOT.sub("", name) for name in _names(model))  # costs what others do
    for name in (*_names(model), *unlisted_snapshot):
        if (entry := _entry(entries, name)) is not None and _is_served_by(entry, model, name):
            if _charges_beyond_tokens(entry, name):
                return None
            try:
                return _price(entry)
            except (*FOREIGN_FAULTS, ConfigError):
                return None
    return None


def retirement_in(entries: Entries, model: str) -> date | None:
    """The day from which a model is no longer served, by the entries of a price file.

    An alias without a day of its own has the latest of its dated snapshots', if all have one.
    """
    for name in _names(model):
        if (entry := _entry(entries, name)) is None or not _is_served_by(entry, model, name):
            continue
        if "deprecation_date" in entry:
            return _day(entry)
        days = [
            _day(snapshot)
            for other in entries
            if other.startswith(name)
            and _SNAPSHOT.fullmatch(other, len(name))
            and (snapshot := _entry(entries, other)) is not None
        ]
        if days and None not in days:
            return max(day for day in days if day is not None)
    return None


def _entry(entries: Entries, name: str) -> Mapping[str, Any] | None:
    """A model's entry; None where there is none, or something else."""
    found = entries.get(name)
    return found if isinstance(found, Mapping) else None


def _day(entry: Mapping[str, Any]) -> date | None:
    """The day from which an entry's model is no longer served; None if it names none."""
    try:
        return date.fromisoformat(entry["deprecation_date"])
    except (KeyError, TypeError, ValueError):
        return None


@cache
def _installed_entries() -> Entries | None:
    spec = find_spec("litellm")  # finds a top-level package without importing it
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(_PRICE_FILE)
    if not path.is_file():
        return None
    entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries


def _names(model: str) -> Iterator[str]:
    """The names under which litellm looks a model up: with its provider and without."""
    bare = model.partition("/")[2]
    for name in (model, bare) if bare else (model,):
        yield name
        if "ft:" in name:
            yield _FINE_TUNING.sub("", name)


def _is_served_by(entry: Mapping[str, Any], model: str, name: str) -> bool:
    """Whether an entry found without the provider's name is that provider's: prices differ."""
    provider, slash, _ = model.partition("/")
    if not slash or name.startswith(provider + slash):
        return True
    said = str(entry.get("litellm_provider", provider))  # such as vertex_ai-language-models
    return said == provider or said.startswith((f"{provider}-", f"{provider}_"))


def _charges_beyond_tokens(entry: Mapping[str, Any], name: str) -> bool:
    """Whether a call costs more than its tokens: by request, or for a web search that it makes."""
    if entry.get("input_cost_per_request"):
        return True
    searches = entry.get("litellm_provider") == "perplexity" or "search" in name
    return searches and "search_context_cost_per_query" in entry


@dataclass(frozen=True, slots=True)
class _Rates:
    """Prices for prompts of at least `from_tokens` tokens, in dollars per million tokens."""

    from_tokens: int
    input: float
    output: float
    cached: float


def _price(entry: Mapping[str, Any]) -> Price | None:
    """The price of an entry: its tiers, chained from the longest prompts to the shortest."""
    price: Price | None = None
    longer: LongPrompts | None = None
    for rates in reversed(_tiers(entry)):
        price = Price(rates.input, rates.output, rates.cached, longer)
        longer = LongPrompts(rates.from_tokens, price)
    return None if price is None or price.is_free else price


def _tiers(entry: Mapping[str, Any]) -> list[_Rates]:
    """The tiers of an entry, from short prompts to long ones; empty if its price is incomplete."""
    if "tiered_pricing" in entry:
        tiers = [_rates(tier, int(tier.get("range", (0,))[0])) for tier in entry["tiered_pricing"]]
    else:
        tiers = [_rates(entry)]
        for key in entry:
            if match := _LONG_PROMPTS.fullmatch(key):
                from_tokens = int(match[2]) * (1000 if match[3] else 1)
                tiers.append(_rates(entry, from_tokens, suffix=match[1]))
    known = [rates for rates in tiers if rates is not None]
    return sorted(known, key=lambda r: r.from_tokens) if len(known) == len(tiers) else []


def _rates(entry: Mapping[str, Any], from_tokens: int = 0, suffix: str = "") -> _Rates | None:
    prompt = entry.get(f"input_cost_per_token{suffix}")
    reply = entry.get(f"output_cost_per_token{suffix}", entry.get("output_cost_per_token"))
    if prompt is None or reply is None:
        return None
    thinking = entry.get("output_cost_per_reasoning_token", 0)
    cached = entry.get(f"cache_read_input_token_cost{suffix}", prompt)
    return _Rates(
        from_tokens,
        _per_mtok(prompt),
        _per_mtok(max(reply, thinking)),
        _per_mtok(min(cached, prompt)),
    )


def _per_mtok(usd_per_token: float) -> float:
    return float(Decimal(str(usd_per_token)) * 10**6)


@lru_cache(maxsize=1024)
def _pico_usd_per_token(usd_per_mtok: float) -> int:
    """Dollars per million tokens are micro-dollars per token; rounded up where not whole."""
    return int((Decimal(str(usd_per_mtok)) * 10**6).to_integral_value(ROUND_CEILING))
