"""An upper bound on the prompt tokens of a request, without a tokenizer."""

from __future__ import annotations

import json
from typing import Literal
from unicodedata import normalize

from engines.chat import ChatRequest

TOKENS_PER_MESSAGE = 16
"""More than the role, start and end marks of any common chat template."""

TOKENS_PER_REQUEST = 256
"""More than the preambles that chat templates add: the date, a default system message."""

TOKENS_PER_SCHEMA = 1024
"""More than what providers add to a prompt to make the model keep to a schema."""

_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def prompt_tokens_bound(request: ChatRequest) -> int:
    """The most prompt tokens that a request can have, whatever the tokenizer.

    A token of a byte-level vocabulary, or of one that falls back to bytes, stands for at least one
    byte, so a text has no more tokens than UTF-8 bytes. A tokenizer may normalise the text first,
    so the longest of its normal forms is counted. Chat templates and providers add text of their
    own, which cannot be bounded in general; the allowance here is several times what they are known
    to add. For English the bound is about four times too high.
    """
    tokens = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(request.messages)
    tokens += sum(_longest_form_bytes(message.content) for message in request.messages)
    if request.schema is not None:  # some providers show it to the model, some do so twice
        tokens += TOKENS_PER_SCHEMA + 2 * len(json.dumps(request.schema))
    return tokens


def _longest_form_bytes(text: str) -> int:
    if text.isascii():  # has one form only
        return len(text)
    forms = (text, *(normalize(form, text) for form in _FORMS))
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms)
