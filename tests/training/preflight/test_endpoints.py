"""What is bound to fail, or to surprise, is one sentence before anything slow begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from envs.errors import ConfigError
from tests.engines.remote_provider import Provider, serving
from training.cli.compose import compose
from training.config.endpoint import ANSWERS, endpoint_of
from training.preflight.checks import check_before_training
from training.preflight.endpoints import check_calls, warnings

SERVER = ("partner=server", "partner.model.name=model-a")
TODAY = date(2026, 11, 21)
NO_SERVER = "http://127.0.0.1:9/v1"  # the port of "discard"
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving(Provider(models=("model-a", "model-b"), key="the-right-key")) as provider:
        yield provider


def refused(*words: str) -> str:
    """Why a run is not begun, which takes no long time to be found out."""
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        check_calls(compose(words))
    assert time.monotonic() - started < 20
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["partner=gpt4o"], "The environment variable OPENAI_API_KEY is not set"),
        (["judge=rubric"], "The environment variable OPENAI_API_KEY is not set, but gpt-4o-2024"),
        (["critic=llm"], "another one with critic.model.api_key_env."),
        (
            ["partner=model", "partner.model.name=anthropic/claude-sonnet-4-5-20250929"],
            "The environment variable ANTHROPIC_API_KEY is not set",
        ),
        (["partner=model", "partner.model.name=gtp-4o"], "litellm does not know the maker"),
        (["partner=model", "partner.model.name=nobody/x"], "litellm does not know the maker"),
        ([*SERVER, f"partner.model.base_url={NO_SERVER}"], "no server can be reached there (Conn"),
        ([*SERVER, "partner.model.base_url=http://no.such.host.invalid/v1"], "no server can be"),
        ([*SERVER, "partner.model.base_url=localhost:8000"], "expected something like http://"),
        ([*SERVER, "partner.model.base_url=http://me:secret@localhost/v1"], "holds a user name"),
        ([*SERVER, "partner.model.base_url='http://localhost/v1?key=secret'"], "a question mark"),
        ([*SERVER, "partner.model.input_usd_per_mtok=1"], "set the other one too."),
        (
            [*SERVER, "partner.model.base_url=http://models.example.org/v1", "budget_usd=1"],
            "budget_usd is set and needs the price of partner.model, but the price of model-a is",
        ),
        ([*SERVER, "api.offline=true"], "a new run has none of its own; set api.answers_file"),
        ([*SERVER, "api.offline=true", "api.answers_file=no/such"], "there is no no/such; set"),
        ([*SERVER, "api.offline=true", "resume=no/run"], "there is no no/run/answers.sqlite; set"),
        (["judge=panel", "~judge.panel.second"], "judge.panel has panel.first alone"),
        (["judge=panel"], "judge.panel.second.name is not set"),
        (["judge=rubric", "~judge.model"], "judge.model.name is not set"),
        (["policy=api"], "policy.model.name is not set"),
        (["partner=checkpoint"], "partner.checkpoint.name is not set"),
    ],
)
def test_what_is_bound_to_fail_is_said(words: list[str], sentence: str) -> None:
    said = refused(*words)
    assert sentence in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "words", [["policy=api", "policy.model.name=gpt-4o-2024-11-20"], ["partner=human"]]
)
def test_what_cannot_be_trained(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"python -m training\.evaluate"):
        check_before_training(compose(words))


def test_a_key_in_place_of_its_variable_is_not_repeated() -> None:
    said = refused(*SERVER, "partner.model.api_key_env=sk-proj-abc123")
    assert "give that one's name, such as OPENAI_API_KEY" in said
    assert "abc123" not in said


def test_without_litellm_servers_can_be_called_and_makers_cannot(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    monkeypatch.setenv("OPENAI_API_KEY", "some-key")
    monkeypatch.setenv("SERVER_KEY", "the-right-key")
    assert "or set base_url" in refused("partner=gpt4o")
    check_calls(compose(at(provider, "partner.model.api_key_env=SERVER_KEY")))


def at(provider: Provider, *words: str) -> list[str]:
    return [*SERVER, f"partner.model.base_url={provider.base_url}", *words]


def test_a_refused_key_is_found_out_before_the_first_call(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "the-wrong-key")
    said = refused(*at(provider, "partner.model.api_key_env=SERVER_KEY"))
    assert "was shown the key in SERVER_KEY and refuses it (partner.model)" in said
    assert "was shown no key and refuses it" in refused(*at(provider))
    monkeypatch.delenv("SERVER_KEY")
    assert "SERVER_KEY is not set" in refused(*at(provider, "partner.model.api_key_env=SERVER_KEY"))


def test_a_name_that_a_server_does_not_list_is_warned_of(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "the-right-key")
    words = at(provider, "partner.model.api_key_env=SERVER_KEY")
    assert list(warnings(compose(words), TODAY)) == []
    (said,) = warnings(compose([*words, "partner.model.name=modl-a"]), TODAY)
    assert f"{provider.base_url} has model-a, model-b; if it does not know modl-a either" in said


def test_what_is_no_http_server_is_found_out() -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        assert "is no HTTP server" in refused(*SERVER, f"partner.model.base_url={url}")
        thread.join()


def test_a_dry_run_needs_no_key_and_says_what_a_run_would_need() -> None:
    words = ["judge=rubric", *SERVER, f"partner.model.base_url={NO_SERVER}", "dry_run=true"]
    config = compose(words)
    check_calls(config)
    unreachable, keyless, old = warnings(config, TODAY)
    assert "no server can be reached" in unreachable
    assert "gpt-4o-2024-11-20 is withdrawn by its maker on 2027-01-14" in keyless + old
    assert "OPENAI_API_KEY is not set" in keyless + old


def test_offline_nobody_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / ANSWERS).touch()
    file = f"api.answers_file={tmp_path / ANSWERS}"
    config = compose(["partner=gpt4o", "judge=rubric", "api.offline=true", file])
    check_calls(config)
    of_own = compose(["partner=gpt4o", "api.offline=true", f"resume={tmp_path}"])
    check_calls(of_own)
    assert all("withdrawn" in said for said in warnings(config, TODAY))


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (date(2026, 7, 1), []),  # 197 days before
        (date(2026, 11, 21), ["withdrawn by its maker on 2027-01-14 (in 54 days)"]),
        (date(2027, 2, 13), ["withdrawn by its maker on 2027-01-14 (30 days ago)"]),
    ],
)
def test_models_near_their_last_day_are_warned_of(day: date, words: list[str]) -> None:
    said = list(warnings(compose(["partner=gpt4o"]), day))
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_an_unknown_price_is_warned_of_and_a_server_here_is_free() -> None:
    elsewhere = [*SERVER, "partner.model.base_url=http://models.invalid/v1", "dry_run=true"]
    assert "Its calls are counted, their cost is not." in next(warnings(compose(elsewhere), TODAY))
    model = compose(SERVER).partner.model
    assert model is not None
    assert endpoint_of(model).is_local


def test_weights_of_one_name_are_told_apart() -> None:
    model = compose([*SERVER, "partner.model.weights_version=step8"]).partner.model
    assert model is not None
    assert endpoint_of(model).id == "model-a#step8@127.0.0.1:8000"
