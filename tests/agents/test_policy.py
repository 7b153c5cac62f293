"""A model's seat: prompts grow, bad output is an invalid action, private notes stay private."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from agents.base import Move, Seat
from agents.chat_template import ChatTemplate
from agents.embedded import make_tokenizer
from agents.policy import ModelPlayer
from agents.prompts import STYLES
from engines.types import Completion, Generation, Sampling
from envs.scenarios import draw
from envs.social import Order, Rules, SocialState, replay
from envs.types import Action, ActionType, Scenario

TOKENIZER = make_tokenizer()
STREAM = ChatTemplate(TOKENIZER)
SAMPLING = Sampling(temperature=0.7, max_new_tokens=9)
OFFER, REFUSAL = "<think> 1 2 </think> do offer price=4 <eos>", "say that is too much <eos>"


@dataclass
class ParrotEngine:
    """Says what it was given, one reply a request, and notes what it was asked."""

    replies: Sequence[str]
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        assert sampling == SAMPLING
        ids = tuple(TOKENIZER(self.replies[len(self.prompts)])["input_ids"])
        self.prompts.append(prompt_ids)
        self.seeds.append(seed)
        return Completion(ids, tuple(-0.5 for _ in ids), "weights-1")

    def said_and_heard(self) -> list[str]:
        return [str(TOKENIZER.decode(list(ids))) for ids in self.prompts]


def player(engine: ParrotEngine) -> ModelPlayer:
    return ModelPlayer("policy", engine, STREAM, STYLES["brief"], SAMPLING)


@pytest.fixture
def scene() -> Scenario:
    return replace(draw("price", "test", 0), briefs=("price buy limit=9", "price sell limit=3"))


def play(
    scene: Scenario,
    replies: tuple[Sequence[str], Sequence[str]],
    rules: Rules | None = None,
    seed: int = 5,
) -> tuple[SocialState, list[Move], list[ParrotEngine]]:
    """Two models until both have said all that they have to say."""
    engines = [ParrotEngine(own) for own in replies]
    state = SocialState(scene, rules)
    agents = [
        player(engine).sit(Seat(state.observe(seat).view, scene.task, seed=seed, persona=0))
        for seat, engine in enumerate(engines)
    ]
    moves: list[Move] = []
    while len(moves) < len(replies[0]) + len(replies[1]):
        acted = {s: asyncio.run(agents[s].act(state.observe(s))) for s in state.to_act}
        moves += acted.values()
        state.step({seat: move.action for seat, move in acted.items()})
    return state, moves, engines


def test_what_each_side_reads(scene: Scenario) -> None:
    _, _, engines = play(scene, ((OFFER, REFUSAL), ("do offer price=7 <eos>",)))
    assert engines[0].said_and_heard() == [
        "price buy limit=9 <me>",
        "price buy limit=9 <me> <think> 1 2 </think> do offer price=4 <eos> "
        "<them> do offer price=7 left=12 <eos> <me>",
    ]
    assert engines[1].said_and_heard() == [
        "price sell limit=3 <them> do offer price=4 left=12 <eos> <me>",
    ]


def test_notes_stay_private(scene: Scenario) -> None:
    unclosed = "<think> 1 2 do offer price=4"
    state, _, engines = play(scene, ((OFFER, unclosed), (REFUSAL, REFUSAL)))
    assert [turn.action for turn in state.turns[:2]] == [
        Action(ActionType.ACT, "offer price=4"),
        Action(ActionType.SPEAK, "that is too much"),
    ]
    assert state.turns[2].action.type is ActionType.NONE
    shown = str(state.turns) + "".join(engines[1].said_and_heard())
    assert "think" not in shown
    assert "1 2" not in shown


@pytest.mark.parametrize(
    "bad", ["<eos>", "price=4 <eos>", "leave none <eos>", "say <eos>", "do offer price=99 <eos>"]
)
def test_bad_output_is_an_invalid_action_with_its_tokens_kept(scene: Scenario, bad: str) -> None:
    state, moves, engines = play(scene, ((bad, OFFER), (REFUSAL,)))
    action = state.turns[0].action
    assert action.type is ActionType.NONE
    assert action.argument == ""
    assert action.invalid
    assert moves[0].generation is not None
    assert moves[0].generation.token_ids == tuple(TOKENIZER(bad)["input_ids"])
    assert engines[1].said_and_heard() == ["price sell limit=3 <them> none left=12 <eos> <me>"]


def test_a_generation_holds_all_that_made_the_turn(scene: Scenario) -> None:
    _, moves, engines = play(scene, ((OFFER, REFUSAL), (REFUSAL,)))
    stream: tuple[int, ...] = ()
    for move, prompt, seed in zip(moves[::2], engines[0].prompts, engines[0].seeds, strict=True):
        made = move.generation
        assert made is not None
        assert stream + made.context_ids == prompt
        stream = prompt + made.token_ids
        assert made.logps == (-0.5,) * len(made.token_ids)
        assert (made.sampling, made.seed, made.weights_version) == (SAMPLING, seed, "weights-1")


def test_seeds_are_the_seats_own_and_change_by_turn(scene: Scenario) -> None:
    replies = ((OFFER, REFUSAL), (REFUSAL, REFUSAL))
    seeds = [seed for engine in play(scene, replies)[2] for seed in engine.seeds]
    assert len(set(seeds)) == 4
    assert seeds == [seed for engine in play(scene, replies)[2] for seed in engine.seeds]
    other = [seed for engine in play(scene, replies, seed=6)[2] for seed in engine.seeds]
    assert not set(other) & set(seeds)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_seated_in_the_middle_it_reads_on(scene: Scenario, cut: int) -> None:
    replies = ((OFFER, REFUSAL, REFUSAL), (REFUSAL, "do offer price=7", OFFER))
    state, moves, engines = play(scene, replies)
    for seat in (0, 1):
        past = [m.generation for n, m in enumerate(moves[:cut]) if n % 2 == seat]
        engine = ParrotEngine(replies[seat][len(past) :])
        middle = replay(scene, Rules(), state.turns[:cut])
        agent = player(engine).sit(
            Seat(middle.observe(seat).view, scene.task, seed=5, persona=0, past=_generations(past))
        )
        if middle.to_act != (seat,):
            middle.step({1 - seat: state.turns[cut].action})
        own = len(past)
        assert asyncio.run(agent.act(middle.observe(seat))) == moves[2 * own + seat]
        assert engine.prompts == [engines[seat].prompts[own]]
        assert engine.seeds == [engines[seat].seeds[own]]


def _generations(made: Sequence[Generation | None]) -> tuple[Generation, ...]:
    return tuple(generation for generation in made if generation is not None)


def test_who_acts_at_the_same_time_is_heard_in_the_next_round(scene: Scenario) -> None:
    rules = Rules(order=Order.SIMULTANEOUS)
    _, _, engines = play(scene, ((OFFER, REFUSAL), (REFUSAL, REFUSAL)), rules)
    assert engines[0].said_and_heard()[1].endswith("<them> say that is too much left=12 <eos> <me>")
    assert engines[1].said_and_heard()[1].endswith("<them> do offer price=4 left=12 <eos> <me>")
    assert engines[1].said_and_heard()[0] == "price sell limit=3 <me>"


def test_a_player_is_called_by_its_name() -> None:
    assert player(ParrotEngine(())).id == "policy"
