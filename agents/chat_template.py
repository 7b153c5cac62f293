"""Applies a model's chat template piece by piece, so that each prompt extends the one before it.

Rendered as a whole, chat templates often change earlier tokens when a dialogue grows. Here tokens
are only ever appended: the sampled ones as they were, then the template's own text between one
reply and the next, which is taken from a rendering with a placeholder as the reply.

Templates differ in what they accept, too. What a template does is found by trying it once: one
that has no place for a system message gets its text at the head of the first user message, and one
that no dialogue can be written with is refused before play.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from envs.errors import EngineError, in_one_line

_PLACEHOLDER = "\u241f"
"""A reply that no template changes; the text after it is what follows any reply."""

_SYSTEM, _USER = "\u241eA", "\u241eB"
"""Messages to try a template with."""

_TODAY = "26 Jul 2024"
"""What templates that write the day into each prompt are told, so that runs can be repeated; it is
the one that Llama 3's template falls back on."""

_CALENDAR = (
    "{%- macro strftime_now(form) -%}"
    f"{{{{ {{'%d %b %Y': '{_TODAY}', '%d %B %Y': '26 July 2024'}}.get(form, '2024-07-26') }}}}"
    "{%- endmacro -%}"
)
"""Stands before a template that asks for the day."""

_MARKERS = re.compile(r"\[/?[A-Z_]+\]|<</?SYS>>")
"""Marks of turns that are plain text to some tokenizers, such as Mistral's first ones."""

_MOST_MARKUP, _MOST_COPIES = 100_000, 10
"""A template may write so many characters of its own, and what was said so many times."""

_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a template's expressions may raise, beside errors of templates."""

_TOKEN = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
_THINKS, _THOUGHT = "<think>", "</think>"

Messages = list[dict[str, str]]


class ChatTemplate:
    """The token ids that a chat template puts before, between and after replies.

    Args:
        tokenizer: with a chat template.
        thinking: whether the model reasons before it answers, where its template has that choice.

    Attributes:
        end_of_turn: the token that ends a reply.

    Raises:
        EngineError: there is no template, or no dialogue can be written with it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, thinking: bool = False) -> None:
        if not tokenizer.chat_template:
            raise EngineError(
                "The policy's tokenizer has no chat template; use an instruction-tuned model, or "
                "save a template with the tokenizer."
            )
        self._tokenizer = tokenizer
        self._thinking = thinking
        text = str(tokenizer.get_chat_template())
        self._text = _CALENDAR + text if "strftime_now" in text else text
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:  # a tokenizer may be saved with either
            self._backend.no_truncation()
            self._backend.no_padding()
        special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
        marks = [*map(re.escape, special), *map(re.escape, self._plain_marks())]
        self._control = re.compile("|".join(marks)) if marks else None
        self._prompt = self._render(_user(_USER))
        if not self._keeps([*_user(_USER), *_assistant(_PLACEHOLDER)], _USER, _PLACEHOLDER):
            raise self._refused("it does not write down what a user and an assistant say")
        self._lead = self._text_before_replies()
        self._opens_thought = self._prompt.rfind(_THINKS) > self._prompt.rfind(_THOUGHT)
        self._check_thinking()
        self._has_system = self._keeps(_system(_SYSTEM) + _user(_USER), _SYSTEM, _USER)
        self._has_system_alone = self._has_system and self._keeps(
            [*_system(_SYSTEM), *_assistant(_PLACEHOLDER)], _SYSTEM, _PLACEHOLDER
        )
        self.end_of_turn = self._find_end_of_turn()
        self.opening = lru_cache(maxsize=4096)(self._opening)
        self.between = lru_cache(maxsize=4096)(self._between)
        self.encode_reply = lru_cache(maxsize=65536)(self._encode_reply)

    def _opening(self, system: str, user: str) -> tuple[int, ...]:
        """The first prompt: the system message, and the user message unless that is empty."""
        system, user = self._cleaned(system), self._cleaned(user)
        if system and not (self._has_system if user else self._has_system_alone):
            system, user = "", "\n\n".join(filter(None, (system, user)))
        return self._encode(self._render([*_system(system), *_user(user)]))

    def _between(self, user: str, after: int | None) -> tuple[int, ...]:
        """What stands between a reply and the next: its end, the user message, a new start.

        Args:
            after: the reply's last token; an end-of-turn token is not repeated.
        """
        ids = self._after_reply(_user(self._cleaned(user)))
        return ids[1:] if ids and ids[0] == after else ids

    def _after_reply(self, messages: Messages) -> tuple[int, ...]:
        text = self._render([*_user("x"), *_assistant(_PLACEHOLDER), *messages])
        # The first one: the user message may hold that character as well.
        return self._encode(text.partition(_PLACEHOLDER)[2].lstrip(" "))

    def _cleaned(self, content: str) -> str:
        """A message without control tokens, so that saying "<|im_end|>" ends no turn."""
        while self._control is not None and self._control.search(content):
            content = self._control.sub("", content)
        return content

    def _render(
        self, messages: Messages, *, prompts: bool = True, thinking: bool | None = None
    ) -> str:
        """The template's text of some messages.

        Args:
            prompts: whether the start of a reply is appended.
            thinking: whether the model is to reason; None as the user chose.

        Raises:
            EngineError: the template refuses them.
        """
        thinks = self._thinking if thinking is None else thinking
        try:
            text: Any = self._tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=prompts,
                enable_thinking=thinks,  # Qwen3's name for it, and others'
                thinking=thinks,
                date_string=_TODAY,
                chat_template=self._text,
            )
        except (TemplateError, *_FAULTS) as error:
            raise self._refused(f"it refuses a dialogue ({in_one_line(error)})") from error
        said = sum(len(message["content"]) for message in messages)
        if len(text) > _MOST_MARKUP + _MOST_COPIES * said:
            raise self._refused(f"it makes {len(text):,} characters of a dialogue of {said:,}")
        return str(text)

    def _encode(self, text: str) -> tuple[int, ...]:
        if self._backend is not None:  # faster, with the same ids
            return tuple(self._backend.encode(text, add_special_tokens=False).ids)
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode_reply(self, text: str) -> tuple[int, ...]:
        """A reply that was written, not sampled, with its end of turn: for demonstrations.

        Its first token is the one that follows the prompt: some tokenizers put a space there.
        """
        if self._opens_thought:  # the prompt has begun a note, which the reply goes on with
            begun = text.startswith(_THINKS)
            text = text.removeprefix(_THINKS) if begun else f"{_THOUGHT}\n\n{text}"
        before = self._encode(self._prompt)
        ids = self._encode(f"{self._prompt}{self._lead}{text}")
        if ids[: len(before)] != before:  # a token would lie across the border
            before, ids = (), self._encode(f"{self._lead}{text}")
        return (*ids[len(before) :], self.end_of_turn)

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """The text of a reply, without special tokens, and with a thought that its prompt began."""
        ids = list(token_ids)
        if ids and ids[-1] == self.end_of_turn:
            ids.pop()
        text = str(self._tokenizer.decode(ids, skip_special_tokens=True))
        return f"{_THINKS}{text}" if self._opens_thought else text

    def _plain_marks(self) -> list[str]:
        """Marks of turns in the template's own text that no special token protects."""
        text = self._render([*_user("x"), *_assistant(_PLACEHOLDER), *_user("x")])
        return sorted(set(_MARKERS.findall(text)))

    def _text_before_replies(self) -> str:
        """The white space that the template writes between the start of a reply and its text."""
        spoken = self._render([*_user(_USER), *_assistant(_PLACEHOLDER)], prompts=False)
        head = spoken.partition(_PLACEHOLDER)[0]
        lead = head.removeprefix(self._prompt)
        return "" if lead == head or lead.strip() else lead

    def _find_end_of_turn(self) -> int:
        spoken = self._render([*_user("x"), *_assistant(_PLACEHOLDER)], prompts=False)
        after = spoken.partition(_PLACEHOLDER)[2].lstrip(" ")
        ids = self._encode(after)
        if not ids:
            raise self._refused("it writes nothing after a reply, so that no turn would end")
        word = str(self._tokenizer.convert_ids_to_tokens(ids[0]))
        known = {*self._tokenizer.added_tokens_decoder, self._tokenizer.eos_token_id}
        if ids[0] not in known and not _TOKEN.fullmatch(word):
            raise self._refused(
                f"it ends a reply with the plain text {after[:20]!r} and not with a token"
            )
        return ids[0]

    def _keeps(self, messages: Messages, *said: str) -> bool:
        """Whether the template writes messages down with all that was said, in that order."""
        try:
            text = self._render(messages)
        except EngineError:
            return False
        places = [text.find(words) for words in said]
        return -1 not in places and places == sorted(places)

    def _check_thinking(self) -> None:
        if not self._thinking or self._opens_thought:
            return
        if self._render(_user(_USER), thinking=False) == self._prompt:
            raise self._refused("it knows no thinking, but thinking is true; set it to false")

    def _refused(self, fault: str) -> EngineError:
        name = self._tokenizer.name_or_path or "the policy's tokenizer"
        return EngineError(
            f"The chat template of {name} cannot be used: {fault}; use an instruction-tuned model, "
            "or save another template with the tokenizer."
        )


def _system(content: str) -> Messages:
    return _message("system", content)


def _user(content: str) -> Messages:
    return _message("user", content)


def _assistant(content: str) -> Messages:
    return _message("assistant", content)


def _message(role: str, content: str) -> Messages:
    """A list of one message, or of none without content."""
    return [{"role": role, "content": content}] if content else []
