"""Applies a model's chat template piece by piece, so that each prompt extends the one before it.

Rendered as a whole, chat templates often change earlier tokens when a dialogue grows. Here tokens
are only ever appended: the sampled ones as they were, then the template's own text between one
reply and the next, which is taken from a rendering with a placeholder as the reply.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from envs.errors import EngineError

_PLACEHOLDER = "\u241f"
"""A reply that no template changes; the text after it is what follows any reply."""


class ChatTemplate:
    """The token ids that a chat template puts before, between and after replies.

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
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:  # a tokenizer may be saved with either
            self._backend.no_truncation()
            self._backend.no_padding()
        special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
        self._control = re.compile("|".join(map(re.escape, special))) if special else None
        self.opening = lru_cache(maxsize=4096)(self._opening)
        self.between = lru_cache(maxsize=4096)(self._between)
        self.encode_reply = lru_cache(maxsize=65536)(self._encode_reply)

    def _opening(self, system: str, user: str) -> tuple[int, ...]:
        """The first prompt: the system message, and the user message unless that is empty."""
        return self._encode(
            self._render([*self._message("system", system), *self._message("user", user)])
        )

    def _between(self, user: str, after: int | None) -> tuple[int, ...]:
        """What stands between a reply and the next: its end, the user message, a new start.

        Args:
            after: the reply's last token; an end-of-turn token is not repeated.
        """
        ids = self._after_reply(self._message("user", user))
        return ids[1:] if ids and ids[0] == after else ids

    def _after_reply(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        text = self._render(
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": _PLACEHOLDER},
                *messages,
            ]
        )
        # The first one: the user message may hold that character as well.
        return self._encode(text.partition(_PLACEHOLDER)[2].lstrip(" "))

    def _message(self, role: str, content: str) -> list[dict[str, str]]:
        """A list of one message, or of none without content.

        Control tokens are removed from it, so that saying "<|im_end|>" ends no turn.
        """
        while self._control is not None and self._control.search(content):
            content = self._control.sub("", content)
        return [{"role": role, "content": content}] if content else []

    def _render(self, messages: list[dict[str, str]]) -> str:
        text: Any = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(text)

    def _encode(self, text: str) -> tuple[int, ...]:
        if self._backend is not None:  # faster, with the same ids
            return tuple(self._backend.encode(text, add_special_tokens=False).ids)
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode_reply(self, text: str) -> tuple[int, ...]:
        """A reply that was written, not sampled, with its end of turn: for demonstrations."""
        return (*self._encode(text), self._after_reply([])[0])

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """The text of a reply, without special tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))
