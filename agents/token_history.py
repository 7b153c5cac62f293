"""One seat's side of an episode as token ids: context, reply, context, reply, ..."""

from __future__ import annotations

from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle, idle_turn
from engines.types import Generation
from envs.types import Observation


class TokenHistory:
    """The tokens that one seat has read and generated so far; they are only ever appended to.

    Args:
        past: the seat's own generations so far, where the episode goes on from its middle.
    """

    def __init__(
        self, template: ChatTemplate, style: PromptStyle, past: tuple[Generation, ...] = ()
    ) -> None:
        self._template, self._style = template, style
        self.ids: tuple[int, ...] = ()
        self._turns_read = None if past else 0
        for generation in past:
            self.ids += generation.context_ids + generation.token_ids

    def context(self, observation: Observation) -> tuple[int, ...]:
        """The tokens from the end of the last reply (or the start) to the next reply's start."""
        view = observation.view
        if self._turns_read is None:  # from the middle: `past` covers all up to the last own turn
            taken = [turn.index for turn in observation.turns if turn.seat == view.seat]
            self._turns_read = max(taken, default=-1) + 1
        new = observation.turns[self._turns_read :]
        own = [turn.action for turn in observation.turns if turn.seat == view.seat]
        self._turns_read = len(observation.turns)
        others = [turn for turn in new if turn.seat != view.seat]
        if not others and self.ids:
            others = [idle_turn(view)]
        last = own[-1] if own else None
        text = self._style.message(view, others, observation.turns_left, last)
        if not self.ids:
            return self._template.opening(self._style.system(view), text)
        return self._template.between(text, self.ids[-1])

    def append(self, context_ids: tuple[int, ...], reply_ids: tuple[int, ...]) -> None:
        """Add what was read and the reply to it."""
        self.ids += context_ids + reply_ids
