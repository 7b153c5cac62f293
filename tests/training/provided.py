"""A provider on loopback that plays and judges, and the options of runs that call it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from judges.base import DIMENSION_RANGES
from tests.engines.remote_provider import Body, Provider

PRICES = {"input_usd_per_mtok": 0.15, "output_usd_per_mtok": 0.6}
"""Dollars, as the provider charges by default: 150 and 600 nano-dollars a token."""


def served(provider: Provider, path: str = "partner", *, name: str = "model-a") -> list[str]:
    """Options that put a model of the provider somewhere: `path`.model of the configuration."""
    told = {"name": name, "base_url": provider.base_url, **PRICES}
    return [f"++{path}.model.{key}={value}" for key, value in told.items()]


def places(folder: Path, *more: str) -> list[str]:
    """Options of every run in tests."""
    return [f"output_root={folder}", "threads=1", *more]


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def replies(body: Body) -> str:
    """Plays where an action is asked for, judges where a verdict is, and chooses the first."""
    if is_judged(body):
        return verdict(body)
    asked = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    chosen = {key: found["enum"][0] for key, found in asked.get("properties", {}).items()
              if key in ("turn", "better")}  # fmt: skip
    return json.dumps({"reason": "Of all.", **chosen}) if chosen else action(body)


def is_judged(body: Body) -> bool:
    return "believability" in json.dumps(body.get("response_format", ""))


def action(body: Body) -> str:
    """Asks for an offer and accepts the first one; the same words to the same messages."""
    acts = "acted: offer" in body["messages"][-1]["content"]
    said = ("action", "accept") if acts else ("speak", "What do you offer?")
    return json.dumps(dict(zip(("action_type", "argument"), said, strict=True)))


def goal_of(character: str) -> float:
    """What the judge gives a character as its goal."""
    return float(len(character) % 11)


def verdict(body: Body) -> str:
    """A verdict in the form that the request's schema asks for."""
    seats = body["response_format"]["json_schema"]["schema"]["properties"]
    found = {}
    for label, seat in seats.items():
        (character,) = seat["properties"]["name"]["enum"]
        has_turns = seat["properties"]["turns"]["items"]["maximum"] > 0
        found[label] = {
            "name": character,
            "turns": [0] if has_turns else [],
            "reason": "It spoke.",
            **dict.fromkeys(DIMENSION_RANGES, 0),
            "goal": goal_of(character),
        }
    return json.dumps(found)


def swapped(text: str) -> str:
    first, second = json.loads(text).items()
    return json.dumps({first[0]: second[1], second[0]: first[1]})


def changed(text: str, **fields: object) -> str:
    """With other fields of the first agent."""
    found = json.loads(text)
    next(iter(found.values())).update(fields)
    return json.dumps(found)


CONTENT_FAULTS: dict[str, Callable[[str], str]] = {
    "out of range": lambda text: changed(text, goal=11),
    "no number": lambda text: changed(text, goal="ten"),
    "a turn that there was not": lambda text: changed(text, turns=[99]),
    "swapped keys": swapped,
    "a missing key": lambda text: json.dumps(dict([next(iter(json.loads(text).items()))])),
    "another key": lambda text: json.dumps({**json.loads(text), "agent_C": {}}),
    "cut": lambda text: text[:-20],
    "twice": lambda text: text + text,
    "another language": lambda text: "\u53cc\u65b9\u90fd\u5f97\u5341\u5206\u3002",
    "nothing": lambda text: "",
}
"""What can be wrong with a whole answer; any of them, taken at its word, would move a score."""


def with_content_faults(rate: float) -> Callable[[Body], str]:
    """`replies`, but of the verdicts that share is faulty; which ones depends on the request."""

    def reply(body: Body) -> str:
        text = replies(body)
        if not is_judged(body):
            return text
        rng = Random(hashlib.sha256(json.dumps(body).encode()).digest())
        if rng.random() >= rate:
            return text
        return CONTENT_FAULTS[rng.choice(list(CONTENT_FAULTS))](text)

    return reply
