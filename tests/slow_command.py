"""A command that waits for answers of a model behind an API, so that a test can stop it."""

from __future__ import annotations

import asyncio
import time

from engines.chat import ChatRequest, Message
from engines.gather import together
from envs.options import to_mapping
from training.cli.run import Command, run
from training.config import RunConfig
from training.play.remote import Remote
from training.storage.run import Run

CALLS = 3


def work(config: RunConfig) -> None:
    """Ask three questions in a run's folder; with name=early, stop before there is one."""
    if config.name == "early":
        print("waiting", flush=True)
        time.sleep(60)
    with Run.open(to_mapping(config)) as opened:
        loop = asyncio.Runner()
        opened.on_close(loop.close)
        remote = Remote(config, opened, loop)
        opened.store.set_step(1, "begun", {})
        assert config.partner.model is not None
        chat = remote.chat(config.partner.model)
        questions = (
            ChatRequest((Message("user", str(n)),), temperature=0.0, max_tokens=9)
            for n in range(CALLS)
        )
        loop.run(together(chat.ask(question) for question in questions))


if __name__ == "__main__":
    run(Command(work=work))
