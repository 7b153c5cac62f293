"""From options to parts: shares, strengths, stop tokens, and what is said when one does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from agents.policy import ModelPlayer
from engines.types import Sampling
from envs.errors import ConfigError
from judges.critics.measured import ValueCritic
from judges.critics.unmeasured import RandomCritic
from tests.tiny_models import tiny_checkpoint
from training.builders.players import stop_tokens
from training.builders.trainer import Trainer, build_trainer
from training.cli.compose import compose
from training.learning.learner import Learner
from training.methods.objectives.types import BranchLogps, Groups
from training.methods.pairings import PAIRINGS
from training.play.context import EXPERTS, FROZEN, POLICY, STUBBORN
from training.storage.run import Run

Build = Callable[..., Trainer]


@pytest.fixture
def parts(tmp_path: Path, run: Run) -> Build:
    def built(*words: str) -> Trainer:
        config = compose(["+experiment=sotopia_sdpo", f"output_root={tmp_path}", *words])
        return build_trainer(config, run, tiny_checkpoint(0), tiny_checkpoint(1))

    return built


def test_critics_share_the_branch_points(parts: Build) -> None:
    found = parts(
        "critic=mixed", "critic.weights={value: 3, random: 1}", "seed=7"
    ).branching.critics
    assert [(critic.id, share) for critic, share in found] == [("value", 0.75), ("random", 0.25)]
    assert found[1][0] == RandomCritic(7)
    only = parts("critic=mixed", "critic.weights={value: 2, random: 0}", "critic.min_drop=1.5")
    assert only.branching.critics == ((ValueCritic(1.5), 1.0),)


def test_players_are_known_by_their_names(parts: Build) -> None:
    players = parts("evaluation.stubborn_bias=2").play.players
    assert set(players) == {POLICY, FROZEN, EXPERTS, STUBBORN}
    assert len({player.id for player in players.values()}) == 4
    assert STUBBORN not in parts("evaluation.stubborn_bias=null").play.players


def test_models_of_ones_own_have_another_temperature_as_partners_in_continuations(
    parts: Build,
) -> None:
    brancher = parts("branch.partner_temperature=0.7").branching.brancher
    assert brancher.partners is not None
    assert brancher.partners.keys() == brancher.players.keys()
    for name in (POLICY, FROZEN):
        own, other = brancher.players[name], brancher.partners[name]
        assert isinstance(own, ModelPlayer)
        assert other == own.at(0.7) != own
    same = parts().branching.brancher
    assert same.partners == same.players


def test_publishing_reaches_the_engine_and_leaves_the_clone_alone(parts: Build) -> None:
    made = parts().learner
    before = {name: tensor.clone() for name, tensor in made.bc.state_dict().items()}
    old, logps = made.engine.weights_version, _logps(made)
    with torch.no_grad():
        made.model.get_input_embeddings().weight.mul_(-3.0)
    assert _logps(made) == logps, "the engine has weights of its own"
    assert made.publish() == made.engine.weights_version != old
    assert _logps(made) != logps
    for name, tensor in made.bc.state_dict().items():
        assert torch.equal(tensor, before[name])


def _logps(learner: Learner) -> tuple[float, ...]:
    """What the engine thinks of its own most probable words."""
    done = asyncio.run(learner.engine.generate((4, 5), Sampling(temperature=0), seed=0))
    return done.logps


@pytest.mark.parametrize(
    ("words", "loss"),
    [
        # A log-ratio margin of 0: log 2 whatever beta is; SPPO's targets are +-eta/2, so eta^2/8.
        (("objective=sdpo", "objective.beta=0.7"), 0.6931),
        (("objective=sppo", "objective.eta=4", "pairing=win_rate"), 2.0),
    ],
)
def test_the_objective_gets_its_strength(parts: Build, words: tuple[str, ...], loss: float) -> None:
    logps = BranchLogps(
        policy_logps_B=torch.tensor([-1.0, -2.0]),
        reference_logps_B=torch.tensor([-1.0, -2.0]),
        win_prob_B=torch.tensor([1.0, 0.0]),
        loss_tokens_B=torch.tensor([3, 3]),
    )
    batch = Groups(logps, torch.tensor([0, 0]))
    assert parts(*words).learner.objective(batch).loss.item() == pytest.approx(loss, abs=1e-4)


def test_turn_pairs_need_no_segment_length(parts: Build) -> None:
    built = parts("pairing=turn", "objective=dpo")
    assert "max_segment_turns" not in PAIRINGS["turn"].option_names
    assert built.pairing.keywords == {"margin": 1.5, "sides": "located", "contrasts": 1}


def test_turns_end_at_every_token_that_ends_one() -> None:
    made = tiny_checkpoint()
    end = made.tokenizer.eos_token_id
    made.model.generation_config.eos_token_id = [7, end]
    assert stop_tokens(made.model, made.tokenizer) == tuple(sorted((7, end)))
    made.model.generation_config.eos_token_id = None
    assert stop_tokens(made.model, made.tokenizer) == (end,)
    made.tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no end-of-sequence token"):
        stop_tokens(made.model, made.tokenizer)


def test_a_control_that_cannot_be_is_left_out_with_a_note(run: Run) -> None:
    made = tiny_checkpoint()
    config = compose(["+experiment=sotopia_sdpo", "evaluation.stubborn_bias=2"])
    made.tokenizer.backend_tokenizer.pre_tokenizer = Split(
        Regex("."), "isolated"
    )  # letter by letter
    found = build_trainer(config, run, made, made).play
    assert STUBBORN not in found.players
    (note,) = found.notes
    assert "no stubborn control" in note
    assert "writes in 6" in note
    assert build_trainer(config, run, tiny_checkpoint(), tiny_checkpoint()).play.notes == ()
