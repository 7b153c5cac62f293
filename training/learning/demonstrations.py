"""Demonstrations for behaviour cloning: dialogues of scripted experts, and drills in arithmetic.

A demonstration is an expert's dialogue seen from one seat. Before each reply to an offer it may
hold a private note: what the offer is worth to the seat, item by item, and how far that is from its
aim. Drills are single offers with that note alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from agents.chat_template import ChatTemplate
from agents.prompts import PromptStyle, idle_turn
from agents.scripted import ScriptedExperts, standing_offer
from engines.batcher import Batcher
from envs.scenarios import draw_mixture
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.task import Task
from envs.social import Rules, view_of
from envs.types import Action, ActionType, Deal, Observation, Scenario, Turn
from judges.verifiable import VerifiableJudge
from training.config import CloningConfig
from training.play.rollout import EpisodePlan, episode_seed, play_wave

_DRILL_OFFERS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of one seat's dialogue and where they carry loss."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


def note(task: Task, seat: int, deal: Deal, style: PromptStyle) -> str:
    """The private calculation of what an offer is worth to a seat, and how far from its aim."""
    return f"<think>{style.account(task, seat, deal)}</think>"


def standing_note(task: Task, observation: Observation, style: PromptStyle) -> str:
    """The calculation that is taught before a reply to the offer on the table; "" without one."""
    seat = observation.view.seat
    deal = standing_offer(task, seat, observation.turns)
    return "" if deal is None else note(task, seat, deal, style)


def dialogue_rows(
    scenario: Scenario,
    turns: Sequence[Turn],
    max_turns: int,
    stream: ChatTemplate,
    style: PromptStyle,
    *,
    seats: Sequence[int] = (0, 1),
    learns_invalid: bool = True,
    notes: bool = True,
) -> Iterator[Row]:
    """A dialogue seen from each seat; loss on the seat's own replies.

    Args:
        seats: from which it is seen.
        notes: whether replies to an offer begin with a note of what it is worth.
        learns_invalid: whether loss also falls on turns that were no valid action.
    """
    for seat in seats:
        view = view_of(scenario, seat)
        ids: list[int] = []
        mask: list[bool] = []
        heard: list[Turn] = []
        last: Action | None = None
        for turn in turns:
            if turn.seat != seat:
                heard.append(turn)
                continue
            if not heard and ids:
                heard = [idle_turn(view)]
            text = style.message(view, heard, max_turns - turn.index, last)
            context = (
                stream.between(text, ids[-1]) if ids else stream.opening(style.system(view), text)
            )
            reply = style.codec.encode(turn.action)
            task = scenario.task
            deal = standing_offer(task, seat, turns[: turn.index]) if task else None
            if notes and task is not None and deal is not None:
                reply = f"{note(task, seat, deal, style)} {reply}"
            said = stream.encode_reply(reply)
            ids += [*context, *said]
            mask += [False] * len(context)
            mask += [learns_invalid or turn.action.invalid is None] * len(said)
            heard, last = [], turn.action
        if ids:
            yield Row(tuple(ids), tuple(mask))


def message_row(said: Sequence[tuple[str, str]], stream: ChatTemplate) -> Row | None:
    """A conversation as it is, loss on the assistant's replies; None where it has another form.

    Args:
        said: the sender ("system", "human", "gpt" ...) and the text of each message: the system's,
            if there is one, then the user's and the assistant's in turn.
    """
    users, assistants = ("human", "user"), ("gpt", "assistant")
    system = said[0][1] if said and said[0][0] == "system" else ""
    rest = said[1:] if said and said[0][0] == "system" else said
    rest = rest[: len(rest) - len(rest) % 2]  # without a last message that nobody answers
    ids: list[int] = []
    mask: list[bool] = []
    for (sender, text), (answerer, answer) in zip(rest[::2], rest[1::2], strict=True):
        if sender not in users or answerer not in assistants:
            return None
        context = stream.between(text, ids[-1]) if ids else stream.opening(system, text)
        reply = stream.encode_reply(answer)
        ids += [*context, *reply]
        mask += [False] * len(context) + [True] * len(reply)
    return Row(tuple(ids), tuple(mask)) if ids else None


def drill_rows(
    weights: Mapping[str, float],
    count: int,
    stream: ChatTemplate,
    style: PromptStyle,
    rng: Random,
    difficulty: Difficulty,
) -> list[Row]:
    """That many drills in scenarios of the train split, each from a seat drawn at random."""
    scenarios = draw_mixture(weights, "train", count, difficulty=difficulty) if count else []
    return [drill_row(each, rng.randrange(2), stream, style, rng) for each in scenarios]


def drill_row(
    scenario: Scenario, seat: int, stream: ChatTemplate, style: PromptStyle, rng: Random
) -> Row:
    """A few random offers by the other side, turned down; loss on the calculations alone."""
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
        reckoning = stream.encode_reply(note(task, seat, deal, style))[:-1]
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

    experts = ScriptedExperts(speaks=style.speaks)
    plans = [
        EpisodePlan(f"demo-{n}", scenario, (experts, experts), episode_seed(seed, "demo", n))
        for n, scenario in enumerate(drawn(config.dialogues))
    ]
    rows: list[Row] = []
    for played in play_wave(plans, rules, VerifiableJudge(), Batcher()):
        rows += dialogue_rows(
            played.episode.scenario,
            played.episode.turns,
            rules.max_turns,
            stream,
            style,
            notes=config.notes,
        )
    rng = Random(f"drills/{seed}")
    for scenario in drawn(config.drills):
        rows.append(drill_row(scenario, rng.randrange(2), stream, style, rng))
    rng.shuffle(rows)
    return rows
