"""What a version of a judge that asks a model is: a hash over all that bears on its answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Final

from engines.chat import Chat, ChatRequest
from envs.types import Action, ActionType, EndReason, Episode, Profile, Relationship, Scenario, Turn
from judges.verdict import ask_again

SPECIMEN: Final = Episode(
    scenario=Scenario(
        id="specimen",
        family="specimen",
        split="test",
        context="Two people meet.",
        goals=("Be heard.", "Be left alone."),
        briefs=("", ""),
        profiles=(Profile("Ann", "Lee", 30, "baker", secret="sings"), Profile("Ben")),
        relationship=Relationship.STRANGER,
    ),
    turns=(
        Turn(0, 0, Action(ActionType.SPEAK, "Hello <there> [you].")),
        Turn(1, 1, Action(ActionType.SPEAK, "Thought process:")),
        Turn(2, 0, Action(ActionType.NON_VERBAL, "waves " * 1_000)),
        Turn(3, 1, Action(ActionType.LEAVE)),
    ),
    end=EndReason.LEFT,
    deal=None,
)
"""A made-up episode with a bit of all that is shown in a way of its own."""


def version_of(
    chat: Chat, options: Sequence[float | str | None], requests: Iterable[ChatRequest]
) -> str:
    """Twelve digits that any change of a word, a rule, a schema or of what is shown changes.

    Args:
        options: the judge's own, such as how many samples it takes.
        requests: what it sends for the specimen.
    """
    asked = list(requests)
    sent = [
        {
            "messages": [(message.role, message.content) for message in request.messages],
            "schema": request.schema,
        }
        for request in (*asked, ask_again(asked[0], "It was refused.", 2))
    ]
    text = json.dumps([chat.id, list(options), sent])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
