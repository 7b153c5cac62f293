"""From messages to token ids, so that each prompt begins with the one before it.

Chat templates often change earlier tokens when a dialogue grows. A seat's stream is therefore only
ever appended to: the sampled tokens as they were, then the template's own text between one reply
and the next, taken from a rendering with a stand-in reply.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from envs.errors import EngineError

_STAND_IN = "\u241f"
"""A reply that no template changes; the text behind it is what follows any reply."""


class ChatStream:
    """Renders a chat template piece by piece.

    Args:
        tokenizer: with a chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise EngineError(
                "The policy's tokenizer has no chat template; use an instruction-tuned model, or "
                "save a template with the tokenizer."
            )
        self._tokenizer = tokenizer
        self.opening = lru_cache(maxsize=4096)(self._opening)
        self.between = lru_cache(maxsize=4096)(self._between)

    def _opening(self, system: str, heard: str) -> tuple[int, ...]:
        """The first prompt: the system message and what was heard before the first own turn."""
        return self._encode(self._render([*_user(system, "system"), *_user(heard, "user")]))

    def _between(self, heard: str, after: int | None) -> tuple[int, ...]:
        """What stands between an own reply and the next: its end, what was heard, a new start.

        Args:
            after: the reply's last token; an end-of-turn token is not repeated.
        """
        text = self._render(
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": _STAND_IN},
                *_user(heard, "user"),
            ]
        )
        ids = self._encode(text[text.rindex(_STAND_IN) + len(_STAND_IN) :].lstrip(" "))
        return ids[1:] if ids and ids[0] == after else ids

    def _render(self, messages: list[dict[str, str]]) -> str:
        text: Any = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(text)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_reply(self, text: str) -> tuple[int, ...]:
        """A reply that was written, not sampled, with its end of turn: for demonstrations."""
        rendered = self._render([{"role": "user", "content": "x"}, {"role": "assistant", "content": _STAND_IN}])
        end = self._encode(rendered[rendered.rindex(_STAND_IN) + len(_STAND_IN) :].lstrip(" "))
        return (*self._encode(text), end[0])

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """The text of a reply, without special tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))


def _user(content: str, role: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}] if content else []
