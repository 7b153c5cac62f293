"""Stage 0, behaviour cloning: learn to talk from scripted self-chat, and to reckon from drills.

A demonstration is an expert's dialogue seen from one seat. Before each reply to an offer the
embedded policy thinks aloud, privately: what the offer is worth to it, item by item, and how far
that is from its aim. Drills are single offers with that reckoning alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle, silence
from agents.scripted import ScriptedExperts, standing_offer
from engines.batcher import Batcher
from envs.scenarios import draw_mixture
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.task import Task
from envs.social import Rules, view_of
from envs.types import Action, ActionType, Deal, Observation, Scenario, Turn
from judges.verifiable import VerifiableJudge
from training.config import CloningConfig, Precision
from training.learning.passes import checkpointed, fused, low_precision, mode
from training.play.rollout import EpisodePlan, episode_seed, play_wave

_IGNORED = -100
_PASS_ROWS = 64
_NOTE_RANGE = (-20, 60)
_DRILL_OFFERS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of one seat's dialogue and where they carry loss."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


def note(task: Task, seat: int, deal: Deal) -> str:
    """The private reckoning of an offer: a running sum of its points, then the gap to the aim."""
    steps = task.appraise(seat, deal)
    gap = steps[-1] - round(task.aims[seat])
    low, high = _NOTE_RANGE
    words = " ".join(str(min(high, max(low, n))) for n in (*steps, gap))
    return f"<think> {words} </think>"


def standing_note(task: Task, observation: Observation) -> str:
    """The reckoning that is taught before a reply, of the offer on the table; "" without one."""
    seat = observation.view.seat
    deal = standing_offer(task, seat, observation.turns)
    return "" if deal is None else note(task, seat, deal)


def dialogue_rows(
    scenario: Scenario,
    turns: Sequence[Turn],
    max_turns: int,
    stream: ChatTemplate,
    style: PromptStyle,
) -> Iterator[Row]:
    """A scripted dialogue seen from each seat, with notes; loss on the seat's own replies."""
    for seat in (0, 1):
        view = view_of(scenario, seat)
        ids: list[int] = []
        mask: list[bool] = []
        heard: list[Turn] = []
        for turn in turns:
            if turn.seat != seat:
                heard.append(turn)
                continue
            if not heard and ids:
                heard = [silence(view)]
            text = style.message(view, heard, max_turns - turn.index)
            context = (
                stream.between(text, ids[-1]) if ids else stream.opening(style.system(view), text)
            )
            reply = style.codec.encode(turn.action)
            task = scenario.task
            deal = standing_offer(task, seat, turns[: turn.index]) if task else None
            if task is not None and deal is not None:
                reply = f"{note(task, seat, deal)} {reply}"
            said = stream.encode_reply(reply)
            ids += [*context, *said]
            mask += [False] * len(context) + [True] * len(said)
            heard = []
        if ids:
            yield Row(tuple(ids), tuple(mask))


def drill_row(
    scenario: Scenario, seat: int, stream: ChatTemplate, style: PromptStyle, rng: Random
) -> Row:
    """A few random offers by the other side, turned down; loss on their reckoning alone."""
    task = scenario.task
    assert task is not None  # drills are drawn from verifiable families
    view = view_of(scenario, seat)
    ids: list[int] = []
    mask: list[bool] = []
    for _ in range(_DRILL_OFFERS):
        deal = rng.choice(task.offerable_deals(1 - seat, careful=False))
        offer = Action(ActionType.ACT, f"offer {task.terms(1 - seat, deal)}")
        text = style.message(view, [Turn(0, 1 - seat, offer)], rng.randint(1, 12))
        context = stream.between(text, ids[-1]) if ids else stream.opening(style.system(view), text)
        reckoning = stream.encode_reply(note(task, seat, deal))[:-1]
        answer = stream.encode_reply(style.codec.encode(Action(ActionType.ACT, "reject")))
        ids += [*context, *reckoning, *answer]
        mask += [False] * len(context) + [True] * len(reckoning) + [False] * len(answer)
    return Row(tuple(ids), tuple(mask))


def demonstrations(
    weights: Mapping[str, float],
    config: CloningConfig,
    rules: Rules,
    stream: ChatTemplate,
    style: PromptStyle,
    *,
    seed: int,
    start: int = 0,
    difficulty: Difficulty = Difficulty.MEDIUM,
) -> list[Row]:
    """All rows of stage 0, in a seeded random order; scenarios come from the train split.

    Args:
        start: how many scenarios of the mixture to skip.
        difficulty: of the scenarios.
    """

    def drawn(count: int) -> list[Scenario]:
        return draw_mixture(weights, "train", count, start=start, difficulty=difficulty)

    experts = ScriptedExperts()
    plans = [
        EpisodePlan(f"demo-{n}", scenario, (experts, experts), episode_seed(seed, "demo", n))
        for n, scenario in enumerate(drawn(config.dialogues))
    ]
    rows: list[Row] = []
    for played in play_wave(plans, rules, VerifiableJudge(), Batcher()):
        rows += dialogue_rows(
            played.episode.scenario, played.episode.turns, rules.max_turns, stream, style
        )
    rng = Random(f"drills/{seed}")
    for scenario in drawn(config.drills):
        rows.append(drill_row(scenario, rng.randrange(2), stream, style, rng))
    rng.shuffle(rows)
    return rows


def clone(
    model: PreTrainedModel,
    rows: Sequence[Row],
    config: CloningConfig,
    *,
    seed: int,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> float:
    """Train on the loss tokens of the rows; returns the mean loss of the last tenth, nats a token.

    Batches are random: rows bucketed by length would tell the outcome by their length.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), fused=fused(model)
    )
    steps = math.ceil(len(rows) / config.batch_rows) * config.epochs
    losses: list[float] = []
    with mode(model, training=True), checkpointed(model, config.checkpointing):
        for batch in _batches(rows, config, seed):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * _schedule(len(losses) / steps)
            optimiser.zero_grad(set_to_none=True)
            loss = accumulate_gradient(model, batch, config.precision)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(loss)
            on_step(len(losses), steps, losses[-1])
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _batches(rows: Sequence[Row], config: CloningConfig, seed: int) -> Iterator[list[Row]]:
    """The rows of each step; each epoch is a fresh permutation."""
    for epoch in range(config.epochs):
        order = list(range(len(rows)))
        Random(f"order/{seed}/{epoch}").shuffle(order)
        for start in range(0, len(order), config.batch_rows):
            yield [rows[i] for i in order[start : start + config.batch_rows]]


def _schedule(progress: float) -> float:
    if progress < 0.05:
        return progress / 0.05 + 0.01
    return 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2


def accumulate_gradient(
    model: PreTrainedModel, batch: Sequence[Row], precision: Precision = "float32"
) -> float:
    """Add the gradient of the batch's mean loss; rows of like length share a pass: less padding."""
    total = sum(sum(row.loss_mask) for row in batch)
    ordered = sorted(batch, key=lambda row: len(row.token_ids))
    loss = 0.0
    for start in range(0, len(ordered), _PASS_ROWS):
        part = _summed_loss(model, ordered[start : start + _PASS_ROWS], precision) / total
        part.backward()
        loss += part.item()
    return loss


def _summed_loss(model: PreTrainedModel, batch: Sequence[Row], precision: Precision) -> Tensor:
    width = max(len(row.token_ids) for row in batch)
    ids_BT = torch.zeros(len(batch), width, dtype=torch.long)
    labels_BT = torch.full((len(batch), width), _IGNORED)
    for n, row in enumerate(batch):
        ids_BT[n, : len(row.token_ids)] = torch.tensor(row.token_ids)
        labels_BT[n, : len(row.token_ids)] = torch.where(
            torch.tensor(row.loss_mask), torch.tensor(row.token_ids), _IGNORED
        )
    ids_BT, labels_BT = ids_BT.to(model.device), labels_BT.to(model.device)
    targets_BT = labels_BT[:, 1:]
    chosen_BT = targets_BT != _IGNORED
    with low_precision(model, precision):
        # The model is causal, so that what is padded on the right is never looked at.
        hidden_BTD = model.get_decoder()(input_ids=ids_BT).last_hidden_state
        logits_NV = model.get_output_embeddings()(hidden_BTD[:, :-1][chosen_BT])
    return cross_entropy(logits_NV.float(), targets_BT[chosen_BT], reduction="sum")
