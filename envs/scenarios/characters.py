"""The twenty characters of the families and open scenarios, in SOTOPIA's schema."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from envs.scenarios.records import AgentRecord, read_jsonl
from envs.types import Profile

DATA: Final = Path(__file__).parent / "data"

CAST: tuple[Profile, ...] = tuple(
    record.profile() for record in read_jsonl(DATA / "characters.jsonl", AgentRecord)
)
