"""The real thing: a real model behind a real OpenAI-compatible server plays both seats.

What it says there is what the same weights say in this process, word for word; and what it said
once is not asked again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.embedded import BASE_FOLDER
from agents.prompts import STYLES
from agents.remote import RemotePlayer
from engines.batcher import Batcher
from engines.chat import Chat, ChatRequest, Message, Reply
from engines.local import LocalEngine
from engines.remote.answer_store import AnswerStore
from engines.remote.client import RemoteChat
from engines.remote.endpoint import Endpoint
from engines.remote.ledger import Ledger
from engines.remote.limits import Limiter
from engines.remote.usage_totals import UsageReport
from engines.types import Sampling
from envs.scenarios import draw
from envs.social import Rules
from envs.types import ActionType, EndReason, Turn
from judges.verifiable import VerifiableJudge
from tests.serving import Served
from training.methods.records import PlayedEpisode
from training.play.rollout import EpisodePlan, play_wave
from training.storage.pretrained import load_pretrained

FAMILIES = ("division", "price", "camp", "plans")
EPISODES = 12
RULES = Rules(max_turns=8)


class LocalChat:
    """The same weights in this process, with the whole conversation rendered anew at each call."""

    id = "local"

    def __init__(self, batcher: Batcher) -> None:
        model, self._tokenizer = load_pretrained(BASE_FOLDER)
        stop_ids = (int(self._tokenizer.eos_token_id),)
        self._engine = LocalEngine(model, stop_ids=stop_ids, batcher=batcher)
        self.tokens: dict[tuple[Message, ...], tuple[int, int]] = {}

    async def ask(self, request: ChatRequest) -> Reply:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        ids = tuple(prompt["input_ids"])
        assert request.temperature == 0
        sampling = Sampling(request.temperature, request.max_tokens)
        done = await self._engine.generate(ids, sampling, seed=request.seed)
        self.tokens[request.messages] = (len(ids), len(done.token_ids))
        text = str(self._tokenizer.decode(list(done.token_ids), skip_special_tokens=True))
        return Reply(text, self.id, len(ids), len(done.token_ids), 0.0)


def play(chat: Chat, batcher: Batcher, loop: asyncio.Runner) -> list[PlayedEpisode]:
    """A few episodes at once, the model against itself at temperature 0."""
    player = RemotePlayer(chat, STYLES["brief"], temperature=0.0, max_tokens=32, asks_again=0)
    plans = [
        EpisodePlan(f"e{n}", draw(FAMILIES[n % len(FAMILIES)], "test", n), (player, player), n)
        for n in range(EPISODES)
    ]
    return play_wave(plans, RULES, VerifiableJudge(), batcher, run=loop.run)


def play_served(served: Served, folder: Path) -> tuple[list[PlayedEpisode], UsageReport]:
    """The same against the server, with the answers that `folder` keeps, and what it took."""
    endpoint = Endpoint(served.model, served.base_url)
    with (
        Ledger(None) as ledger,
        AnswerStore(folder / "answers.sqlite") as answers,
        asyncio.Runner() as loop,
    ):
        chat = RemoteChat(endpoint, ledger=ledger, limiter=Limiter(), answers=answers)
        played = play(chat, Batcher(), loop)
        loop.run(chat.close())
        return played, ledger.totals()


def turns(played: list[PlayedEpisode]) -> list[tuple[Turn, ...]]:
    return [one.episode.turns for one in played]


@pytest.mark.slow
def test_episodes_are_the_models_own_words_and_are_paid_for_once(
    served: Served, tmp_path: Path
) -> None:
    played, ledger = play_served(served, tmp_path)

    # Real play: legal moves in the line language that come to deals.
    actions = [turn.action for own in turns(played) for turn in own]
    assert sum(action.invalid is None for action in actions) >= 0.9 * len(actions)
    assert {action.type for action in actions} >= {ActionType.SPEAK, ActionType.ACT}
    assert any(one.episode.end is EndReason.DEAL for one in played)
    name = Endpoint(served.model, served.base_url).id
    assert all(one.players == (name, name) for one in played)

    # Word for word what the same weights say here.
    batcher = Batcher()
    local = LocalChat(batcher)
    with asyncio.Runner() as loop:
        assert turns(play(local, batcher, loop)) == turns(played)

    # The ledger has what was served: each conversation once, and every token of it.
    prompt_tokens, completion_tokens = map(sum, zip(*local.tokens.values(), strict=True))
    assert ledger.calls == len(local.tokens)
    assert (ledger.prompt_tokens, ledger.completion_tokens) == (prompt_tokens, completion_tokens)

    # Played again, all is answered from the store.
    again, second = play_served(served, tmp_path)
    assert turns(again) == turns(played)
    assert (second.calls, second.cached_answers) == (0, len(actions))
