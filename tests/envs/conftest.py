"""A task small enough to reckon by hand, and scenarios with and without it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from envs.errors import ActionError
from envs.scenarios.task import Task
from envs.types import Deal, Profile, Relationship, Scenario


@dataclass(frozen=True, slots=True)
class PearTask(Task):
    """Two pears; a pear is worth 3 to seat 0 and 1 to seat 1. A deal is what seat 0 gets."""

    def deals(self) -> tuple[Deal, ...]:
        return ((0,), (1,), (2,))

    def utility(self, seat: int, deal: Deal) -> float:
        return 3.0 * deal[0] if seat == 0 else 1.0 * (2 - deal[0])

    def terms(self, seat: int, deal: Deal) -> str:
        return f"{deal[0] if seat == 0 else 2 - deal[0]} for me"

    def parse_terms(self, seat: int, text: str) -> Deal:
        word = text.removesuffix(" for me")
        if word not in ("0", "1", "2"):
            raise ActionError(f"got {text[:20]!r}, expected '<0, 1 or 2> for me'.")
        return (int(word) if seat == 0 else 2 - int(word),)

    def appraise(self, seat: int, deal: Deal) -> tuple[int, ...]:
        return (int(self.utility(seat, deal)),)


PEARS = PearTask(aims=(3.0, 1.0))
ADA = Profile(
    "Ada", "Byron", 36, "programmer", public_info="likes engines", big_five="open", secret="sugar"
)
BEN = Profile(
    "Ben", "Stone", 40, "mason", public_info="builds walls", big_five="calm", secret="salt"
)


@pytest.fixture(scope="session")
def published() -> Path:
    """Data that others published, from $PARLEY_DATA or beside the checkout; not part of it."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PARLEY_DATA", beside))
    if not (folder / "sotopia").is_dir():
        pytest.skip(f"no published data in {folder}; set PARLEY_DATA")
    return folder


@pytest.fixture(scope="session")
def pears() -> Scenario:
    return Scenario(
        id="pears/train/0",
        family="pears",
        split="train",
        context="Two pears.",
        goals=("Get a pear, I love them.", "Get a pear if it is cheap."),
        briefs=("pear=3 aim=3", "pear=1 aim=1"),
        profiles=(ADA, BEN),
        relationship=Relationship.FRIEND,
        task=PEARS,
    )


@pytest.fixture(scope="session")
def chat(pears: Scenario) -> Scenario:
    """The same without a task: only a judge could score it."""
    return replace(pears, id="chat/train/0", family="chat", task=None)


@pytest.fixture(scope="session")
def trio(chat: Scenario) -> Scenario:
    """Three seats."""
    return replace(
        chat,
        id="trio/train/0",
        goals=(*chat.goals, "Watch."),
        briefs=(*chat.briefs, ""),
        profiles=(*chat.profiles, Profile("Cy", secret="pepper")),
    )
