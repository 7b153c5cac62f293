"""A person's seat: what is shown, what can be typed, what is asked again; and others live on."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.base import Agent, Move, Seat
from agents.human import HumanPlayer, read_typed
from engines.batcher import Batcher
from envs.actions import CODECS
from envs.scenarios import draw
from envs.social import Rules, SocialState
from envs.types import Action, ActionType, Observation, Profile, Relationship, Scenario
from judges.verifiable import VerifiableJudge
from training.play.rollout import EpisodePlan, play_wave

SECRET = "xyzzy"
SCENE = replace(
    draw("price", "test", 0),
    context="At a market. Act `offer price=<n>`.",
    goals=("Buy it.", SECRET),
    profiles=(Profile("Ana", age=31, secret="sings at night"), Profile("Ben", secret=SECRET)),
    relationship=Relationship.FRIEND,
)


class Terminal:
    """A person who types some lines and goes away; everything that was on the screen."""

    def __init__(self, typed: Iterable[str]) -> None:
        self._typed = iter(typed)
        self.screen: list[str] = []

    def read(self, prompt: str) -> str:
        try:
            return next(self._typed)
        except StopIteration:
            raise EOFError from None

    def write(self, text: str) -> None:
        self.screen.append(text)

    def player(self) -> HumanPlayer:
        return HumanPlayer(read=self.read, write=self.write)

    @property
    def text(self) -> str:
        return "\n".join(self.screen)


def observed(*lines: str, seat: int = 0, scenario: Scenario = SCENE) -> Observation:
    """What `seat` sees after lines in the line language, by the seats in turn."""
    state = SocialState(scenario)
    for line in lines:
        state.step({state.to_act[0]: CODECS["line"].decode(line)})
    return state.observe(seat)


def acts(terminal: Terminal, observations: Sequence[Observation]) -> list[Action]:
    """What one person does in the turns of one episode."""

    async def run() -> list[Action]:
        agent = terminal.player().sit(Seat(observations[0].view, SCENE.task, seed=0, persona=0))
        return [(await agent.act(observation)).action for observation in observations]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("typed", "action"),
    [
        ("Hello, Ben!", Action(ActionType.SPEAK, "Hello, Ben!")),
        ("accept", Action(ActionType.ACT, "accept")),
        ("accept it or not?", Action(ActionType.SPEAK, "accept it or not?")),
        ("<think> hm </think> ok", Action(ActionType.SPEAK, "<think> hm </think> ok")),
        ("/do sit down", Action(ActionType.ACT, "sit down")),
        ("/gesture  nods", Action(ActionType.NON_VERBAL, "nods")),
        ("/none", Action(ActionType.NONE)),
        ("/leave", Action(ActionType.LEAVE)),
        ("/offer price=7", Action(ActionType.ACT, "offer price=7")),
        ("/offer 7", Action(ActionType.ACT, "offer 7")),
        ("/accept", Action(ActionType.ACT, "accept")),
        ("/reject", Action(ActionType.ACT, "reject")),
    ],
)
def test_what_can_be_typed(typed: str, action: Action) -> None:
    assert read_typed(typed, observed("say hm", "do offer price=9"), SCENE.task) == action


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "without words"),
        ("/do", "without words"),
        ("/gesture ", "without words"),
        ("/leave now", "got words after 'leave'"),
        ("/sing", "got '/sing', expected /do, .*/offer.* or plain words"),
        ("/offer", "is not a price from 1 to 20"),
        ("/offer price=99", "'price=99' is not a price from 1 to 20; write it as 'price=12'"),
        ("/do offer a lot", "is not a price"),
        ("/accept", "no offer stands"),
        ("/reject", "no offer stands"),
        ("/accept it", "expected the word alone"),
        ("hello\x1b[2J", "no control or override marks"),
    ],
)
def test_what_the_world_would_refuse_is_asked_again(typed: str, reason: str) -> None:
    terminal = Terminal([typed, "never mind"])
    told = observed("do offer price=3", "do reject")
    assert acts(terminal, [told]) == [Action(ActionType.SPEAK, "never mind")]
    refused = read_typed(typed, told, SCENE.task).invalid
    assert refused is not None
    assert " ".join(f"That cannot be done: {refused}".split()) == " ".join(
        terminal.screen[-1].split()
    )
    assert re.search(reason, refused)


def test_ones_own_offer_cannot_be_accepted() -> None:
    told = observed("do offer price=3", "say hm")
    assert "one's own offer" in str(read_typed("/accept", told, SCENE.task).invalid)


def test_without_a_task_there_are_no_deals_and_free_acts_are_free() -> None:
    told = observed(scenario=replace(SCENE, task=None))
    refused = read_typed("/offer price=3", told, None)
    assert refused.invalid == (
        "got '/offer', expected /do, /gesture, /none, /leave, /scene, /help or plain words."
    )
    assert read_typed("/do accept", told, None) == Action(ActionType.ACT, "accept")
    terminal = Terminal([])
    agent = terminal.player().sit(Seat(told.view, None, seed=0, persona=0))
    asyncio.run(agent.act(told))
    assert "/offer" not in terminal.text


def test_the_end_of_the_input_leaves() -> None:
    assert acts(Terminal([]), [observed()]) == [Action(ActionType.LEAVE)]


def test_the_transcript_grows_by_what_the_person_did_not_type() -> None:
    terminal = Terminal(["hello", "hm", "/leave"])
    acts(
        terminal,
        [
            observed(),
            observed("say hello", "gesture nods"),
            observed("say hello", "gesture nods", "do accept", "say what?"),
        ],
    )
    assert [line[:40] for line in terminal.screen if line.startswith(("You ", "The other "))] == [
        "The other [nods]",
        "You did nothing (not carried out: got 'a",
        "The other said: what?",
    ]


def test_all_that_is_shown_in_order() -> None:
    terminal = Terminal(["hello", "/scene", "/help", "bye"])
    acts(terminal, [observed(), observed("say hello", "do offer price=9")])
    scene, help_, first, news, left, again, own, news_again, left_again, more_help = terminal.screen
    for part in (SCENE.context, "You are Ana", "sings at night", "You talk to Ben", "Buy it."):
        assert part in scene
    assert "/offer <terms>" in help_
    assert first == "(Turns left: 20. /help tells what can be typed.)"
    assert news == news_again == "The other acted: offer price=9"
    assert left == left_again == "(Turns left: 18. /help tells what can be typed.)"
    assert again == scene
    assert own == "You said: hello"
    assert more_help == help_


def test_seated_in_the_middle_the_whole_transcript_is_shown() -> None:
    terminal = Terminal([])
    acts(terminal, [observed("say hello", "say well")])
    assert terminal.screen[2:4] == ["You said: hello", "The other said: well"]


def test_why_a_turn_was_not_carried_out_is_its_owners_to_know() -> None:
    mine, theirs = Terminal([]), Terminal([])
    acts(mine, [observed("do accept", "say hm")])
    acts(theirs, [observed("do accept", seat=1)])
    assert "You did nothing (not carried out: got 'accept' but no offer stands" in mine.text
    assert "The other did nothing" in theirs.text
    assert "not carried out" not in theirs.text


@given(relationship=st.sampled_from(Relationship))
def test_nothing_of_the_others_mind_is_shown(relationship: Relationship) -> None:
    scene = replace(SCENE, relationship=relationship, briefs=("", SECRET))
    terminal = Terminal(["/accept", "/scene", "/help"])
    acts(terminal, [observed(scenario=scene)])
    assert SECRET not in terminal.text
    assert ("Ben" in terminal.text) == (relationship >= Relationship.KNOW_BY_NAME)


class Slow(Terminal):
    """Waits with each line until it is told that somebody else did something meanwhile."""

    def __init__(self, typed: Iterable[str], go_on: Callable[[], bool]) -> None:
        super().__init__(typed)
        self._go_on = go_on

    def read(self, prompt: str) -> str:
        assert self._go_on(), "the loop stood still while the person thought"
        return super().read(prompt)


def test_the_loop_lives_while_the_person_thinks() -> None:
    lived = threading.Event()
    terminal = Slow(["hello"], lambda: lived.wait(20))

    async def run() -> Action:
        agent = terminal.player().sit(Seat(observed().view, SCENE.task, seed=0, persona=0))
        thinking = asyncio.create_task(agent.act(observed()))
        await asyncio.sleep(0)
        lived.set()
        return (await thinking).action

    assert asyncio.run(run()) == Action(ActionType.SPEAK, "hello")


def test_whoever_interrupts_need_not_type_on() -> None:
    forever = threading.Event()
    terminal = Slow([], lambda: forever.wait(60))

    async def run() -> None:
        agent = terminal.player().sit(Seat(observed().view, SCENE.task, seed=0, persona=0))
        await asyncio.wait_for(agent.act(observed()), timeout=0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(run())  # comes back although the thread still reads
    forever.set()


def test_what_goes_wrong_at_the_terminal_comes_out() -> None:
    def broken(prompt: str) -> str:
        raise OSError("the terminal is gone")

    player = HumanPlayer(read=broken, write=lambda text: None)
    agent = player.sit(Seat(observed().view, SCENE.task, seed=0, persona=0))
    with pytest.raises(OSError, match="the terminal is gone"):
        asyncio.run(agent.act(observed()))


def test_of_several_episodes_each_is_shown_whole_when_its_turn_comes() -> None:
    terminal = Terminal(["one", "two", "three"])
    player = terminal.player()
    other = replace(SCENE, context="At the zoo.")
    seats = [observed(), observed(scenario=other), observed("say one", "say hm")]

    async def run() -> list[Action]:
        first, second = (player.sit(Seat(o.view, SCENE.task, seed=0, persona=0)) for o in seats[:2])
        agents = (first, second, first)
        return [(await a.act(o)).action for a, o in zip(agents, seats, strict=True)]

    said = asyncio.run(run())
    assert [action.argument for action in said] == ["one", "two", "three"]
    scenes = [text for text in terminal.screen if "You are Ana" in text]
    assert ["zoo" in scene for scene in scenes] == [False, True, False]
    assert terminal.screen.count("You said: one") == 1


def test_an_offer_without_a_slash_is_the_act_where_it_is_one() -> None:
    task = SCENE.task
    assert read_typed("offer price=12", observed(), task) == Action(
        ActionType.ACT, "offer price=12"
    )
    said = read_typed("offer me something better", observed(), task)
    assert said == Action(ActionType.SPEAK, "offer me something better")
    offered = observed("do offer price=12", seat=1)
    assert read_typed("accept", offered, task) == Action(ActionType.ACT, "accept")
    assert read_typed("accept", observed(), task).type is ActionType.SPEAK, "nothing to accept"
    assert read_typed("accept", observed(), None).type is ActionType.SPEAK


def test_the_person_is_told_how_it_ended() -> None:
    terminal = Terminal(["offer price=12"])
    plan = EpisodePlan("x", SCENE, (terminal.player(), Accepts()), seed=1)
    (played,) = play_wave([plan], Rules(max_turns=4), VerifiableJudge(), Batcher())
    assert played.episode.deal is not None
    shown = " ".join(terminal.text.split())
    assert "The conversation is over. The deal, as the other would offer it: price=12." in shown
    assert "You got " in shown
    assert "The other got " in shown
    assert "Seat " not in shown


class Accepts:
    """A player that accepts."""

    id = "accepts"

    def sit(self, seat: Seat) -> Agent:
        return self

    async def act(self, observation: Observation) -> Move:
        return Move(Action(ActionType.ACT, "accept"))
