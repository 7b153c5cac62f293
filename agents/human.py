"""A person at the terminal as a player: the scene is printed, and the person types what to do.

The person sees what the seat may see and nothing else: its view and the transcript. An input that
the rules do not allow is refused with the reason, and the person is asked again.
"""

from __future__ import annotations

import asyncio
import re
import textwrap
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace

from agents.base import Agent, Move, Seat
from agents.prompts import known_facts, told
from envs.actions import CODECS
from envs.bargaining import EMPTY_TABLE, Table, apply_act
from envs.errors import ActionError
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Episode, Observation, Profile, Turn, View

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
and, in the form that the scene asks for,
  /offer <terms>    put an offer on the table, such as the scene shows after "offer"
  /accept           close the deal on the other's offer
  /reject           turn it down
Words before one of these are said with it: That is fair. /accept"""
_COMMANDS = {"/do": "do", "/gesture": "gesture", "/none": "none", "/leave": "leave"}
"""What can be typed, and the keyword of the line language that it stands for."""
_DEAL_COMMANDS = {"/offer": "do offer", "/accept": "do accept", "/reject": "do reject"}
"""The same, in scenarios where deals can be made."""
_WITH_ACT = re.compile(r"(?P<words>.*\S)\s+(?P<act>/(?:offer|accept|reject)\b.*)", re.DOTALL)


@dataclass(slots=True)
class HumanPlayer:
    """The person at the terminal; episodes that are under way together ask one at a time.

    Attributes:
        read: shows a prompt and returns what was typed; raises EOFError where nothing more comes.
        write: shows a paragraph.
    """

    id: str = "human"
    read: Callable[[str], str] = input
    write: Callable[[str], None] = print
    _terminal: threading.Lock = field(default_factory=threading.Lock, init=False)
    _on_screen: object = field(default=None, init=False)

    def sit(self, seat: Seat) -> Agent:
        return _SeatedHuman(self, seat.task, seat.view.seat)


class _SeatedHuman:
    """The person in one seat; input is awaited in a thread, so that other episodes go on."""

    def __init__(self, player: HumanPlayer, task: Task | None, seat: int) -> None:
        self._player, self._task, self._seat = player, task, seat
        self._shown_turns = 0

    async def act(self, observation: Observation) -> Move:
        return Move(await _in_thread(lambda: self._ask(observation)))

    def _ask(self, observation: Observation) -> Action:
        player = self._player
        with player._terminal:
            if player._on_screen is self:
                self._show_transcript(observation, since=self._shown_turns)
            else:  # the first turn, or another episode was on the screen
                self._write(_scene(observation.view))
                self._write(_help(self._task))
                self._show_transcript(observation)
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
                    self._show_transcript(observation)
                    continue
                action = read_typed(typed, observation, self._task)
                if action.invalid is None:
                    return action
                self._write(f"That cannot be done: {action.invalid}")

    def ended(self, episode: Episode, reasons: Sequence[str]) -> None:
        """Show the person how it ended: the deal, and what it was worth to both."""
        player, seat = self._player, self._seat
        with player._terminal:
            if player._on_screen is self:
                for turn in episode.turns[self._shown_turns :]:
                    if turn.seat != seat:
                        self._write(_turn_text(turn, seat))
            player._on_screen = None
            self._write(f"\n{_end_text(episode, self._task, seat)}")
            for number, reason in enumerate(reasons):
                who = "You" if number == seat else "The other"
                self._write(reason.replace(f"Seat {number} ", f"{who} ", 1))

    def _show_transcript(self, observation: Observation, since: int | None = None) -> None:
        """Print all turns, or those from `since` on that the person has not typed itself."""
        seat = observation.view.seat
        for turn in observation.turns[since or 0 :]:
            if since is None or turn.seat != seat or turn.action.invalid is not None:
                self._write(_turn_text(turn, seat))
        self._write(f"(Turns left: {observation.turns_left}. /help tells what can be typed.)")

    def _write(self, text: str) -> None:
        lines = (textwrap.fill(line, _COLUMNS, subsequent_indent="  ") for line in text.split("\n"))
        self._player.write("\n".join(lines))


def read_typed(typed: str, observation: Observation, task: Task | None) -> Action:
    """The action that was typed; an invalid one, with the reason, where the rules do not allow it.

    Args:
        task: None where there are no deals to be made.
    """
    if task is not None and f"/{typed.split(' ')[0]}" in _DEAL_COMMANDS:
        meant = read_typed(f"/{typed}", observation, task)
        if meant.invalid is None:  # "offer price=12" is the act; what is no act is said
            return meant
    if not typed.startswith("/"):
        spoken = CODECS["line"].decode(f"say {typed}")
        together = _WITH_ACT.fullmatch(typed) if task is not None else None
        if together is None or spoken.invalid is not None:
            return spoken
        act = read_typed(together["act"], observation, task)
        return replace(act, words=" ".join(together["words"].split())) if act.argument else act
    command, _, words = typed.partition(" ")
    keyword = _COMMANDS.get(command)
    if keyword is None and task is not None:
        keyword = _DEAL_COMMANDS.get(command)
    if keyword is None:
        deal_commands = _DEAL_COMMANDS if task is not None else ()
        commands = ", ".join([*_COMMANDS, *deal_commands, "/scene, /help"])
        return _refused(f"got {command[:40]!r}, expected {commands} or plain words.")
    action = CODECS["line"].decode(f"{keyword} {words}".rstrip())
    if action.type is not ActionType.ACT or task is None:
        return action
    try:
        apply_act(_table(observation, task), task, observation.view.seat, action.argument)
    except ActionError as error:
        return _refused(str(error))
    return action


def _table(observation: Observation, task: Task) -> Table:
    """The state of the bargaining after all acts of the transcript."""
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
    """Run blocking work in a daemon thread, which does not keep an interrupted program alive."""
    done: Future[Action] = Future()
    done.set_running_or_notify_cancel()  # an episode that ends meanwhile cannot call it back

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # raised again in the episode
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
    return known_facts(profile, profile.public_info, profile.personality_and_values)


def _end_text(episode: Episode, task: Task | None, seat: int) -> str:
    deal = episode.deal
    if deal is None or task is None:
        return f"The conversation is over, without a deal: {episode.end.value}."
    said = task.terms(1 - seat, deal)
    return f"The conversation is over. The deal, as the other would offer it: {said}."


def _turn_text(turn: Turn, seat: int) -> str:
    """A turn as the seat saw it, with the reason where its own was not carried out."""
    own = turn.seat == seat
    line = f"{'You' if own else 'The other'} {told(turn.action)}"
    if own and turn.action.invalid is not None:
        line += f" (not carried out: {turn.action.invalid})"
    if own and turn.action.near_miss is not None:
        line += f" (mind that {turn.action.near_miss})"
    return line
