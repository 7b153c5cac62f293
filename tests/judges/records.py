"""What a judge was shown, taken out of a request again: the record, and our own words around it."""

from __future__ import annotations

import json
import re
from typing import Any

from engines.chat import ChatRequest

_FENCED = re.compile(r"<(record-[0-9a-f]+)>\n(.*?)\n</\1>", re.DOTALL)


def record(request: ChatRequest) -> dict[str, Any]:
    """The data between the fences."""
    (found,) = _FENCED.findall(request.messages[-1].content.split("\n\n", 1)[0])
    data: dict[str, Any] = json.loads(found[1])
    return data


def words_around(request: ChatRequest) -> str:
    """All that is sent but the record, whose nonce is left out too."""
    text = "\n".join(f"{message.role}: {message.content}" for message in request.messages)
    ((tag, body),) = _FENCED.findall(text)
    return text.replace(body, "...").replace(tag, "record")


def verdict(**fields: object) -> str:
    """A reply with some reason."""
    return json.dumps({"reason": "Because of turn 1.", **fields})
