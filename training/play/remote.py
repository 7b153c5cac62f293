"""The models behind APIs of a run: they share a ledger, a rate limiter and an answer store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from engines.chat import Chat
from engines.event_loop import EventLoop
from engines.models import ModelConfig, Resources
from engines.remote.answer_store import AnswerStore
from engines.remote.client import RemoteChat
from engines.remote.ledger import Ledger
from engines.remote.limits import Limiter
from engines.remote.retries import Retries
from engines.remote.usage_totals import UsageReport
from envs.errors import ConfigError
from training.config import RunConfig
from training.config.endpoint import ANSWERS, endpoint_of
from training.storage.files import make_folder, writing

CALLS = "calls.sqlite"


class Owner(Protocol):
    """Whose calls they are: a run, or a part of one that closes its connections earlier."""

    @property
    def folder(self) -> Path:
        """Where the calls are counted and the answers kept."""
        ...

    def on_close(self, close: Callable[[], object]) -> None:
        """Register a function to be called in the end."""
        ...


class Remote:
    """The shared services of all API calls of a run; made only when there are any.

    Args:
        loop: the event loop that connections live in.
    """

    def __init__(self, config: RunConfig, run: Owner, loop: EventLoop) -> None:
        api = config.api
        self._config, self._loop, self._folder = config, loop, run.folder
        self._ledger = Ledger(
            run.folder / CALLS, budget_usd=config.budget_usd, max_calls=config.max_calls
        )
        run.on_close(self._ledger.close)
        file = Path(api.answers_file) if api.answers_file else run.folder / ANSWERS
        with writing(file):
            make_folder(file.parent)
        self._answers = AnswerStore(file, policy=api.answers, offline=api.offline)
        run.on_close(self._answers.close)
        self._limiter = Limiter(
            max_concurrent=api.concurrency,
            requests_per_minute=api.requests_per_minute,
            tokens_per_minute=api.tokens_per_minute,
        )
        self._chats: dict[ModelConfig, RemoteChat] = {}
        run.on_close(self._close_chats)

    def chat(self, model: ModelConfig) -> RemoteChat:
        """The client of a model; one for each model in a run."""
        if model not in self._chats:
            api, endpoint = self._config.api, endpoint_of(model)
            patience_s = api.local_patience_s if endpoint.is_local else 0.0
            self._chats[model] = RemoteChat(
                endpoint,
                ledger=self._ledger,
                limiter=self._limiter,
                answers=self._answers,
                retries=Retries(max_attempts=api.attempts, patience_s=patience_s),
                go_on=f"resume={self._folder}",
            )
        return self._chats[model]

    def totals(self) -> UsageReport:
        """The calls so far and their cost."""
        return self._ledger.totals()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Do a piece of work, such as a wave of episodes, with models that answer.

        Its calls and answers are on disk after it, and so before the wave is.

        Raises:
            OutageError: all requests to one of the models failed in the block, so that what came
                of it should not be kept.
        """
        for chat in self._chats.values():
            chat.contact.begin()
        yield
        for chat in self._chats.values():
            chat.contact.check()
        self._ledger.flush()
        self._answers.flush()

    def _close_chats(self) -> None:
        for chat in self._chats.values():
            self._loop.run(chat.close())


def resources(remote: Remote | None, *, seed: int) -> Resources:
    """What judges, critics and players may be built with beside their options.

    Args:
        remote: None where the configuration names no model behind an API.
    """

    def nobody(model: ModelConfig) -> Chat:
        raise ConfigError(
            f"The model {model.name} is to be called, but no option names it; this is a mistake in "
            "the component that asks for it."
        )

    return Resources(seed=seed, chat=nobody if remote is None else remote.chat)
