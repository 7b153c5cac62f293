"""Scripted experts in words: they do what they do without them, and say true, readable things."""

from __future__ import annotations

import pytest

from agents.prompts import STYLES
from agents.scripted import ScriptedExperts
from engines.batcher import Batcher
from envs.bargaining import read_act
from envs.scenarios import FAMILIES, draw
from envs.social import Rules
from envs.types import ActionType, Episode
from judges.conduct import read_conduct
from judges.verifiable import VerifiableJudge
from training.play.rollout import EpisodePlan, play_wave


def played(family: str, count: int, *, speaks: bool) -> list[Episode]:
    experts = ScriptedExperts(speaks=speaks)
    plans = [
        EpisodePlan(f"{family}-{n}", draw(family, "train", n), (experts, experts), n)
        for n in range(count)
    ]
    return [one.episode for one in play_wave(plans, Rules(), VerifiableJudge(), Batcher())]


@pytest.mark.parametrize("family", FAMILIES)
def test_words_come_with_the_acts(family: str) -> None:
    acts = 0
    for episode in played(family, 20, speaks=True):
        for turn in episode.turns:
            action = turn.action
            assert action.speech
            assert "{" not in action.speech
            assert action.invalid is None
            assert action.near_miss is None
            if action.type is ActionType.ACT:
                acts += 1
                assert read_act(action.argument).keyword in ("offer", "accept", "reject")
    assert acts > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_sentences_vary(family: str) -> None:
    said = [t.action.speech for e in played(family, 40, speaks=True) for t in e.turns]
    assert len(set(said)) > len(said) / 3


@pytest.mark.parametrize("family", ["division", "plans", "camp", "price"])
def test_experts_who_speak_reach_what_silent_ones_reach(family: str) -> None:
    deals = [
        sum(episode.deal is not None for episode in played(family, 60, speaks=speaks))
        for speaks in (False, True)
    ]
    assert abs(deals[0] - deals[1]) <= 3


def test_a_keen_expert_names_its_secret_in_no_words() -> None:
    keen = ScriptedExperts((("keen", 1.0),), speaks=True)
    plans = [EpisodePlan(f"m-{n}", draw("match", "train", n), (keen, keen), n) for n in range(40)]
    for one in play_wave(plans, Rules(), VerifiableJudge(), Batcher()):
        task = one.episode.scenario.task
        assert task is not None
        assert not any(read_conduct(task, one.episode.turns, seat).leaks for seat in (0, 1))


def test_a_secret_in_plain_words_is_a_leak() -> None:
    task = draw("match", "train", 0).task
    assert task is not None
    name, place = task.secrets[0].split("@")  # type: ignore[attr-defined]
    assert task.leaks(0, f"Do you know {name.capitalize()} from the {place}?")
    assert not task.leaks(0, f"I know somebody at the {place}.")


@pytest.mark.parametrize(
    ("family", "deal", "account", "words"),
    [
        ("price", (12,), "{high}-{low}={gain}", "a price of 12"),
        ("plans", (5,), "zoo {taste}", "the zoo"),
    ],
)
def test_offers_in_words(family: str, deal: tuple[int, ...], account: str, words: str) -> None:
    task = draw(family, "train", 0).task
    assert task is not None
    assert task.in_words(0, deal) == words
    points = round(task.utility(0, deal))
    shown = task.account(0, deal)
    if family == "price":
        limit = task.limits[0]  # type: ignore[attr-defined]
        assert shown == account.format(high=limit, low=12, gain=points)
    else:
        assert shown == account.format(taste=points)


def test_a_split_is_added_up_item_by_item() -> None:
    task = draw("division", "train", 0).task
    assert task is not None
    deal = task.deals()[len(task.deals()) // 2]
    total = round(task.utility(0, deal))
    assert task.account(0, deal).endswith(f"so {total}")
    aim = round(task.aims[0])
    note = STYLES["full"].account(task, 0, deal)
    gap = total - aim
    assert note.endswith(
        f"I want {aim}: "
        + ("enough." if gap == 0 else f"{gap} over." if gap > 0 else f"{-gap} short.")
    )
