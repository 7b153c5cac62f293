"""A person at the terminal as a player: reads the scene and types what to do.

The person sees what the seat may see and nothing else: its view and the transcript. What the world
would refuse is asked again with the reason.
"""

from __future__ import annotations

import asyncio
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from agents.base import Agent, Move
from agents.prompts import VERBS
from engines.types import Generation
from envs.actions import CODECS
from envs.bargaining import EMPTY_TABLE, Table, apply_act
from envs.errors import ActionError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Observation, Profile, Turn, View

_COLUMNS = 88
_PROMPT = "> "
_TALK_HELP = """\
Plain words are said aloud. Beside them you can type
  /do <words>       do something
  /gesture <words>  smile, nod, point at something
  /none             let the turn pass
  /leave            end the conversation (as Ctrl-D does)
  /scene            show everything once more
  /help             show this"""
_DEAL_HELP = """
and, in the form that the scene tells,
  /offer <terms>    put an offer on the table, such as it says after "offer"
  /accept           close the deal on the other's offer
  /reject           turn it down"""
_LINES = {"/do": "do", "/gesture": "gesture", "/none": "none", "/leave": "leave"}
"""Commands by the keyword of the line language that they stand for."""
_DEALING = {"/offer": "do offer", "/accept": "do accept", "/reject": "do reject"}


@dataclass(slots=True)
class HumanPlayer:
    """Whoever sits at the terminal; several episodes at once are asked about one after the other.

    Attributes:
        read: shows a prompt and returns what was typed; raises EOFError where nothing more comes.
        write: shows a paragraph.
    """

    id: str = "human"
    read: Callable[[str], str] = input
    write: Callable[[str], None] = print
    _terminal: threading.Lock = field(default_factory=threading.Lock, init=False)
    _on_screen: object = field(default=None, init=False)

    def sit(
        self,
        view: View,
        task: Task | None,
        *,
        seed: int,
        persona: int,
        past: tuple[Generation, ...] = (),
    ) -> Agent:
        return _SeatedHuman(self, task)


class _SeatedHuman:
    """One seat's talk with the person; it goes on in a thread, so that other episodes live."""

    def __init__(self, player: HumanPlayer, task: Task | None) -> None:
        self._player, self._task = player, task
        self._shown_turns = 0

    async def act(self, observation: Observation) -> Move:
        return Move(await _in_thread(lambda: self._ask(observation)))

    def _ask(self, observation: Observation) -> Action:
        player = self._player
        with player._terminal:
            if player._on_screen is self:
                self._tell(observation, since=self._shown_turns)
            else:  # the first turn, or another episode was on the screen
                self._write(_scene(observation.view))
                self._write(_help(self._task))
                self._tell(observation)
            player._on_screen, self._shown_turns = self, len(observation.turns)
            while True:
                try:
                    typed = player.read(_PROMPT).strip()
                except EOFError:
                    return Action(ActionType.LEAVE)
                if typed == "/help":
                    self._write(_help(self._task))
                    continue
                if typed == "/scene":
                    self._write(_scene(observation.view))
                    self._tell(observation)
                    continue
                action = read_typed(typed, observation, self._task)
                if action.invalid is None:
                    return action
                self._write(f"That cannot be done: {action.invalid}")

    def _tell(self, observation: Observation, since: int | None = None) -> None:
        """The transcript, or what is new in it and was not typed by the person."""
        seat = observation.view.seat
        for turn in observation.turns[since or 0 :]:
            if since is None or turn.seat != seat or turn.action.invalid is not None:
                self._write(_told(turn, seat))
        self._write(f"(Turns left: {observation.turns_left}. /help tells what can be typed.)")

    def _write(self, text: str) -> None:
        lines = (textwrap.fill(line, _COLUMNS, subsequent_indent="  ") for line in text.split("\n"))
        self._player.write("\n".join(lines))


def read_typed(typed: str, observation: Observation, task: Task | None) -> Action:
    """The action that was typed; an invalid one, with a sentence, where the world would refuse it.

    Args:
        task: None where there are no deals to be made.
    """
    command, _, words = typed.partition(" ")
    if not typed.startswith("/"):
        return CODECS["line"].decode(f"say {typed}")
    keyword = _LINES.get(command) or (_DEALING.get(command) if task is not None else None)
    if keyword is None:
        commands = ", ".join([*_LINES, *(_DEALING if task is not None else ()), "/scene, /help"])
        return _refused(f"got {command!r}, expected {commands} or plain words.")
    action = CODECS["line"].decode(f"{keyword} {words}".rstrip())
    if action.type is not ActionType.ACT or task is None:
        return action
    try:
        apply_act(_table(observation, task), task, observation.view.seat, action.argument)
    except ActionError as error:
        return _refused(str(error))
    return action


def _table(observation: Observation, task: Task) -> Table:
    """What lies on the table after the acts that everybody saw."""
    table = EMPTY_TABLE
    for turn in observation.turns:
        if turn.action.type is not ActionType.ACT:
            continue
        with suppress(ActionError):  # of two acts at the same time the second was judged before it
            table = apply_act(table, task, turn.seat, turn.action.argument)
    return table


def _refused(reason: str) -> Action:
    return Action(ActionType.NONE, "", invalid=reason)


async def _in_thread(work: Callable[[], Action]) -> Action:
    """Run blocking work in a daemon thread: whoever interrupts the program need not type on."""
    done: Future[Action] = Future()
    done.set_running_or_notify_cancel()  # an episode that ends meanwhile cannot call it back

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, the episode hears of it
            done.set_exception(error)

    threading.Thread(target=run, name="human", daemon=True).start()
    return await asyncio.wrap_future(done)


def _help(task: Task | None) -> str:
    return _TALK_HELP + (_DEAL_HELP if task is not None else "")


def _scene(view: View) -> str:
    partners = "; ".join(_about(partner) for partner in view.partners)
    secret = f"\nYour secret: {view.profile.secret}" if view.profile.secret else ""
    return (
        f"\n{'=' * _COLUMNS}\n{view.context}\n\nYou are {_about(view.profile)}{secret}\n"
        f"You talk to {partners}\n\nYour goal, which the other does not know: {view.goal}\n"
    )


def _about(profile: Profile | None) -> str:
    if profile is None:
        return "a stranger."
    facts = [
        profile.name,
        f"{profile.age} years old" if profile.age is not None else "",
        profile.occupation,
        profile.public_info,
        profile.personality_and_values,
    ]
    return "; ".join(fact.rstrip(".") for fact in facts if fact) + "."


def _told(turn: Turn, seat: int) -> str:
    """A turn as the seat saw it; why one's own was not carried out, and nobody else's."""
    own = turn.seat == seat
    line = f"{'You' if own else 'The other'} {VERBS[turn.action.type]}".format(turn.action.argument)
    if own and turn.action.invalid is not None:
        line += f" (not carried out: {turn.action.invalid})"
    return line
