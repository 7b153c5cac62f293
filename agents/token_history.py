"""What one seat has read and said so far, as tokens: context, reply, context, reply, ..."""

from __future__ import annotations

from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle, silence
from engines.types import Generation
from envs.types import Observation


class TokenHistory:
    """One seat's token stream, which is only ever appended to.

    Args:
        past: the seat's own generations so far, where it sits down in the middle.
    """

    def __init__(
        self, stream: ChatTemplate, style: PromptStyle, past: tuple[Generation, ...] = ()
    ) -> None:
        self._stream, self._style = stream, style
        self.ids: tuple[int, ...] = ()
        self._heard_turns = None if past else 0
        for generation in past:
            self.ids += generation.context_ids + generation.token_ids

    def context(self, observation: Observation) -> tuple[int, ...]:
        """The tokens from the end of the last reply (or the start) to the next reply's start."""
        view = observation.view
        if self._heard_turns is None:  # seated in the middle: all before the last reply is known
            own = [turn.index for turn in observation.turns if turn.seat == view.seat]
            self._heard_turns = max(own, default=-1) + 1
        new = observation.turns[self._heard_turns :]
        self._heard_turns = len(observation.turns)
        heard = [turn for turn in new if turn.seat != view.seat]
        if not heard and self.ids:
            heard = [silence(view)]
        text = self._style.message(view, heard, observation.turns_left)
        if not self.ids:
            return self._stream.opening(self._style.system(view), text)
        return self._stream.between(text, self.ids[-1])

    def append(self, context_ids: tuple[int, ...], reply_ids: tuple[int, ...]) -> None:
        """Go on with what was read and what was said to it."""
        self.ids += context_ids + reply_ids
