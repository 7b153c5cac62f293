"""A command that waits for answers of a model behind an API, so that a test can stop it.

python -m tests.slow_command output_root=FOLDER base_url=URL
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from engines.chat import ChatRequest, Message
from engines.gather import together
from engines.remote.answer_store import AnswerStore
from engines.remote.client import RemoteChat
from engines.remote.endpoint import Endpoint
from engines.remote.ledger import Ledger
from engines.remote.limits import Limiter
from engines.remote.prices import Price
from training.cli.run import errors_as_sentences
from training.cli.stopping import stopping_on_signals
from training.storage.run import Run

CALLS = 3


def ask(output_root: Path, base_url: str) -> None:
    """Ask questions in a run's folder; the run closes what it needs as a real one does."""
    with Run.create(output_root, {}) as run:
        run.store.set_step(1, "begun", {})
        loop = asyncio.Runner()
        run.on_close(loop.close)
        ledger = Ledger(run.folder / "calls.sqlite")
        run.on_close(ledger.close)
        answers = AnswerStore(run.folder / "answers.sqlite")
        run.on_close(answers.close)
        endpoint = Endpoint("model-a", base_url=base_url, price=Price(1.0, 2.0), timeout_s=900.0)
        chat = RemoteChat(
            endpoint, ledger=ledger, limiter=Limiter(max_concurrent=CALLS), answers=answers
        )
        run.on_close(lambda: loop.run(chat.close()))
        questions = (
            ChatRequest((Message("user", str(n)),), temperature=0.0, max_tokens=9)
            for n in range(CALLS)
        )
        loop.run(together(chat.ask(question) for question in questions))


def main() -> None:
    """Do it; without a URL, wait before there is a run."""
    words = sys.argv[1:]
    given = dict(word.split("=", 1) for word in words)
    with stopping_on_signals(), errors_as_sentences(words):
        if "base_url" not in given:
            print("waiting", flush=True)
            time.sleep(600)
        ask(Path(given["output_root"]), given["base_url"])


if __name__ == "__main__":
    main()
