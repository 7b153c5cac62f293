"""The pattern of JSON replies: what it takes is a valid action, and it takes what people write."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.base import Seat
from agents.chat_template import ChatTemplate
from agents.policy import ModelPlayer
from agents.prompts import STYLES
from agents.reply_pattern import MAX_ARGUMENT_CHARS, json_reply
from engines.batcher import Batcher
from engines.local import LocalEngine
from engines.types import Sampling
from envs.actions import CODECS
from envs.bargaining import apply_act, possible_acts, table_after
from envs.errors import ActionError, ConfigError
from envs.scenarios import draw
from envs.scenarios.family import FAMILIES
from envs.social import SocialState
from envs.types import Action, ActionType, View
from tests.tiny_models import instruct_model, instruct_tokenizer

FULL = STYLES["full"]


def view_of(*, verifiable: bool) -> View:
    view = SocialState(draw("price", "test", 0)).observe(0).view
    return replace(view, verifiable=verifiable)


PLAIN, WITH_ACTS = (json_reply(view_of(verifiable=has)) for has in (False, True))


@pytest.mark.parametrize(
    "reply",
    [
        '{"action_type": "speak", "argument": "Twelve would be fair."}',
        '{"action_type": "speak", "argument": "\\"Olá\\", said the café. 🏕️ C:\\\\"}',
        '{"action_type": "non-verbal communication", "argument": "nods"}',
        '{"action_type": "action", "argument": "accept"}',
        '{"action_type": "leave", "argument": ""}',
        '{"action_type": "none", "argument": ""}',
        '<think>At most 14.</think> {"action_type": "speak", "argument": "Hm."}',
        '<think></think>{"action_type": "leave", "argument": ""}',
    ],
)
def test_ordinary_replies_match_and_are_valid(reply: str) -> None:
    assert re.fullmatch(PLAIN, reply)
    assert re.fullmatch(WITH_ACTS, reply)
    assert CODECS["json"].decode(reply).invalid is None


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_task_is_known_only_possible_acts_match(family: str) -> None:
    """Random play with acts of every kind: the pattern takes one exactly if the rules do."""
    rng, taken = Random(0), Counter[bool]()
    for number in range(6):
        state = SocialState(draw(family, "train", number))
        task = state.scenario.task
        assert task is not None
        while state.to_act:
            seat, *_ = state.to_act
            observation = state.observe(seat)
            table = table_after(task, observation.turns)
            pattern = json_reply(observation.view, possible_acts(table, task, seat))
            offers = [f"offer {task.terms(seat, deal)}" for deal in task.deals()]
            for act in ("accept", "reject", rng.choice(offers), "offer everything", "sings"):
                try:
                    allowed = apply_act(table, task, seat, act) is not table
                except ActionError:
                    allowed = False
                text = json.dumps({"action_type": "speak", "argument": "So.", "act": act})
                bare = json.dumps({"action_type": "action", "argument": act})
                if act.startswith("offer") and allowed:
                    allowed = act in {
                        f"offer {task.terms(seat, deal)}"
                        for deal in task.offerable_deals(seat, careful=False)
                    }
                assert bool(re.fullmatch(pattern, text)) == allowed, act
                assert bool(re.fullmatch(pattern, bare)) == allowed, act
                taken[allowed] += 1
            state.step({seat: Action(ActionType.ACT, rng.choice([*offers[:3], "reject"]))})
    assert min(taken[True], taken[False]) > 50


@pytest.mark.parametrize("act", ["accept", "reject", "offer price=12", "offer wood=2, water=1"])
def test_acts_stand_beside_words_where_goals_are_checked(act: str) -> None:
    reply = f'{{"action_type": "speak", "argument": "Fine.", "act": "{act}"}}'
    assert re.fullmatch(WITH_ACTS, reply)
    assert not re.fullmatch(PLAIN, reply)
    assert CODECS["json"].decode(reply) == Action(ActionType.ACT, act, words="Fine.")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Twelve would be fair.",
        '{"action_type": "speak", "argument": ""}',
        '{"action_type": "speak", "argument": " \u00a0"}',
        '{"action_type": "speak", "argument": "a\nb"}',
        '{"action_type": "speak", "argument": "a\u202eb"}',
        '{"action_type": "speak", "argument": "\\u0007"}',
        '{"action_type": "speak", "argument": "a"} ',
        '{"action_type": "speak",  "argument": "a"}',
        '{"argument": "a", "action_type": "speak"}',
        '{"action_type": "sing", "argument": "a"}',
        '{"action_type": "speak", "argument": "a", "act": "offer "}',
        '{"action_type": "speak", "argument": "a", "act": "agree"}',
        '{"action_type": "leave", "argument": "", "act": "reject"}',
        '{"action_type": "speak", "argument": "' + "a" * (MAX_ARGUMENT_CHARS + 1) + '"}',
        '<think>a<b</think>{"action_type": "leave", "argument": ""}',
        f'<think>{"a" * 201}</think>{{"action_type": "leave", "argument": ""}}',
    ],
)
def test_other_replies_do_not_match(reply: str) -> None:
    assert not re.fullmatch(WITH_ACTS, reply)


@settings(max_examples=50, deadline=None)
@given(st.from_regex(WITH_ACTS, fullmatch=True))
def test_every_match_is_a_valid_action(reply: str) -> None:
    assert CODECS["json"].decode(reply).invalid is None


@pytest.mark.parametrize("verifiable", [False, True])
def test_a_model_that_has_learned_nothing_acts_validly(verifiable: bool) -> None:
    """Its letters are drawn almost evenly: all bytes of UTF-8, and all types of actions."""
    tokenizer, batcher = instruct_tokenizer(), Batcher()
    stop = int(tokenizer.eos_token_id)
    engine = LocalEngine(instruct_model(), stop_ids=(stop,), batcher=batcher, tokenizer=tokenizer)
    sampling = Sampling(1.0, 1024)
    player = ModelPlayer(
        "policy", engine, ChatTemplate(tokenizer), FULL, sampling, constrained=True
    )
    state = SocialState(draw("price", "test", 0))
    observation = state.observe(0)
    observation = replace(observation, view=replace(observation.view, verifiable=verifiable))
    agents = [player.sit(Seat(observation.view, None, seed=n, persona=0)) for n in range(12)]
    moves = asyncio.run(batcher.play([agent.act(observation) for agent in agents]))
    assert [move.action.invalid for move in moves] == [None] * len(moves)
    assert len(Counter(move.action.type for move in moves)) > 2
    assert any(not move.action.argument.isascii() for move in moves)
    for move in moves:
        assert move.generation is not None
        assert move.generation.token_ids[-1] == stop
        assert move.generation.sampling == replace(sampling, pattern=json_reply(observation.view))
        assert move.generation.constraint_nats is not None
        assert move.generation.constraint_nats > 20


def test_a_style_without_a_pattern_refuses_to_be_constrained() -> None:
    player = ModelPlayer(
        "policy",
        LocalEngine(instruct_model(), stop_ids=(1,), batcher=Batcher()),
        ChatTemplate(instruct_tokenizer()),
        STYLES["brief"],
        Sampling(),
        constrained=True,
    )
    with pytest.raises(ConfigError, match="its prompt style has no pattern"):
        player.sit(Seat(view_of(verifiable=True), None, seed=0, persona=0))
