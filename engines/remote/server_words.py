"""Words of servers as they may be shown: without keys."""

from __future__ import annotations

import os


def redact_keys(text: str, key: str | None) -> str:
    """A server's message without any key that it quotes: ours, or one that litellm found."""
    known = [value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN"))]
    secrets = [value for value in known if len(value) >= 8]  # shorter ones occur in plain words
    for secret in (key, *secrets):
        if secret:
            text = text.replace(secret, "[key]")
    return text
