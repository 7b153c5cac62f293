"""The embedded policy can say all that its teachers say, and is an ordinary Hugging Face folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.chat_template import ChatTemplate
from agents.embedded import BASE_FOLDER, Shape, make_model, make_tokenizer
from agents.prompts import STYLES
from agents.vocabulary import END, PAD, UNKNOWN, missing_words, vocabulary
from engines.weights import weights_version
from envs.scenarios import FAMILIES, draw
from envs.scenarios.difficulty import Difficulty
from envs.social import Rules
from training.config import CloningConfig
from training.learning.demonstrations import demonstrations, note

TOKENIZER = make_tokenizer()
SMALL = Shape(width=16, layers=1, heads=2, feed_forward=32)


def unknown(text: str) -> list[str]:
    """The words of `text` that have no token of their own."""
    known = set(vocabulary())
    return [word for word in text.split() if word not in known]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_demonstration_has_an_unknown_word_and_all_fit(family: str) -> None:
    rows = demonstrations(
        {family: 1.0},
        CloningConfig(dialogues=200, drills=200, lr=1.0),
        Rules(max_turns=20),
        ChatTemplate(TOKENIZER),
        STYLES["brief"],
        seed=0,
    )
    assert len(rows) > 400
    unknown_id = TOKENIZER.unk_token_id
    for row in rows:
        assert unknown_id not in row.token_ids, TOKENIZER.decode(list(row.token_ids))
    assert max(len(row.token_ids) for row in rows) + 24 <= Shape().positions


@pytest.mark.parametrize("difficulty", Difficulty)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_deal_brief_wish_and_reckoning_has_its_words(
    family: str, split: str, difficulty: Difficulty
) -> None:
    for index in range(60):
        scenario = draw(family, split, index, difficulty)
        task = scenario.task
        assert task is not None
        for seat in (0, 1):
            assert unknown(scenario.briefs[seat]) == []
            assert unknown(task.statement(seat, Random(index)) or "") == []
            for deal in task.deals():
                assert unknown(f"do offer {task.terms(seat, deal)}") == []
                assert unknown(note(task, seat, deal, STYLES["brief"])) == []


def test_the_line_languages_own_words() -> None:
    assert unknown("<think> </think> say gesture do leave none offer accept reject") == []
    assert unknown("do dance") == ["dance"]
    assert TOKENIZER("dance")["input_ids"] == [TOKENIZER.unk_token_id]


def test_the_shipped_model_has_this_vocabulary() -> None:
    shipped = AutoTokenizer.from_pretrained(BASE_FOLDER)
    assert shipped.get_vocab() == {word: index for index, word in enumerate(vocabulary())}
    assert missing_words(FAMILIES) == missing_words(["open", "sotopia"]) == ()


def test_words_of_another_packages_family_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    coins = replace(FAMILIES["price"], name="coins", words=("coins", "offer", "heads", "coins"))
    monkeypatch.setitem(FAMILIES._found, "coins", coins)
    extra = missing_words(["division", "coins"])
    assert extra == ("coins", "heads")
    assert vocabulary() == TOKENIZER.convert_ids_to_tokens(range(len(TOKENIZER)))
    assert vocabulary(extra) == [*vocabulary(), "coins", "heads"]
    tokenizer = make_tokenizer(extra)
    assert tokenizer("offer coins heads")["input_ids"][1:] == [len(TOKENIZER), len(TOKENIZER) + 1]
    model = make_model(SMALL, seed=0, extra_words=extra)
    assert model.config.vocab_size == len(tokenizer) == len(TOKENIZER) + 2


def test_a_word_is_a_token() -> None:
    words = vocabulary()
    assert len(set(words)) == len(words)
    assert len(TOKENIZER) == len(words)
    text = " ".join(words)
    assert TOKENIZER(text)["input_ids"] == list(range(len(words)))
    assert TOKENIZER.decode(list(range(len(words)))) == text
    assert [TOKENIZER.pad_token, TOKENIZER.unk_token, TOKENIZER.eos_token] == [PAD, UNKNOWN, END]


def test_the_model_and_its_tokenizer_agree_on_special_tokens() -> None:
    config = make_model(SMALL, seed=0).config
    assert config.pad_token_id == TOKENIZER.pad_token_id
    assert config.eos_token_id == TOKENIZER.eos_token_id
    assert config.vocab_size == len(TOKENIZER)


def test_save_and_load_as_any_other_model(tmp_path: Path) -> None:
    model = make_model(SMALL, seed=3)
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert weights_version(loaded) == weights_version(model)
    text = "price buy limit=9 aim=3 <them> do offer price=4 <eos> <me> <think> 5 2 </think>"
    ids = TOKENIZER(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(ids).logits, model.eval()(ids).logits)
    assert tokenizer(text)["input_ids"] == ids[0].tolist()
    assert tokenizer.decode(ids[0]) == text
    before, after = ChatTemplate(TOKENIZER), ChatTemplate(tokenizer)
    assert after.opening("price buy", "leave") == before.opening("price buy", "leave")
    assert after.between("leave", 2) == before.between("leave", 2)
    assert after.encode_reply("do accept") == before.encode_reply("do accept")


@pytest.mark.parametrize("shape", [Shape(), SMALL])
def test_how_large_it_is(shape: Shape) -> None:
    # Per layer four square attention matrices, three of the gated feed-forward, two norms; then a
    # last norm, and embeddings that serve for the output as well.
    d, f = shape.width, shape.feed_forward
    expected = shape.layers * (4 * d * d + 3 * d * f + 2 * d) + d + len(vocabulary()) * d
    model = make_model(shape, seed=0)
    assert model.num_parameters() == expected
    assert expected * 4 < 8e6  # bytes: it ships with the package
    assert model.config.max_position_embeddings == shape.positions


def test_weights_come_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first = weights_version(make_model(SMALL, seed=0))
    assert torch.equal(torch.get_rng_state(), state)  # nothing global was touched
    torch.rand(5)
    assert weights_version(make_model(SMALL, seed=0)) == first
    assert weights_version(make_model(SMALL, seed=1)) != first
    torch.set_rng_state(state)
