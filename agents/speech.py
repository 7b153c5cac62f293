"""Puts scripted experts' acts into words, so that who learns from them learns to talk as well.

An expert decides what to do from its task alone (`agents.scripted`). Here its action becomes a turn
as people take it: a sentence or two, and the act. Sentences are drawn from the seed, and say true
things only.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from envs.bargaining import read_act
from envs.scenarios.task import Task
from envs.types import Action, ActionType, Observation

_GREETINGS = (
    "Hi{name}! ",
    "Hello{name}. ",
    "Hey{name}, good to see you. ",
    "Nice to talk to you{name}. ",
    "",
)
_OPENINGS = (
    "How about {deal}?",
    "What do you say to {deal}?",
    "I have a suggestion: {deal}.",
    "Let me start with an idea: {deal}. What do you think?",
    "Would {deal} be all right with you?",
    "My first thought is {deal}.",
)
_COUNTERS = (
    "I am afraid that does not work for me. How about {deal}?",
    "I see your point, but I would rather have {deal}.",
    "That is not quite enough for me. Could we say {deal}?",
    "Hmm, I cannot agree to that. What about {deal} instead?",
    "We are getting closer. My offer is {deal}.",
    "I would feel better with {deal}. Is that fair?",
    "Not yet. Let us try {deal}.",
)
_LAST_OFFERS = (
    "We do not have much time left. Can we settle on {deal}?",
    "Let us not part with nothing: {deal}?",
    "This is close to my limit: {deal}.",
)
_FURTHER_OFFERS = (
    "Let me put it another way: {deal}.",
    "Another idea: {deal}.",
    "I can also offer {deal}. Would that help?",
    "Maybe {deal} suits you better?",
)
_ACCEPTANCES = (
    "That works for me. Thank you{name}!",
    "All right, I accept.",
    "Good, it is a deal.",
    "Fair enough. I am happy with that.",
    "Yes, let us do that.",
    "That is a fair offer, so I agree.",
    "Deal. It was a pleasure{name}.",
)
_REFUSALS = (
    "I am sorry, but I have to turn that down.",
    "No, that is too little for me.",
    "I cannot take that. Please make me another offer.",
)
_ANSWERS = {"accept": _ACCEPTANCES, "reject": _REFUSALS}
_WISHES = (
    "{wish} What matters to you?",
    "{wish} How about you?",
    "Just so that you know: {wish}",
    "Let me be open with you. {wish}",
    "{wish}",
)
_LATE = 4
"""Turns left, of both seats together, from which on an offer is made as a last one."""


def in_words(action: Action, task: Task, observation: Observation, rng: Random) -> Action:
    """The turn in which an expert says what it does, in plain English.

    Args:
        action: what the expert chose, in the line language.
        rng: chooses among sentences that say the same.
    """
    seat, first = observation.view.seat, not _own_turns(observation)
    greeting = _filled(rng, _GREETINGS, observation) if first else ""
    if action.type is ActionType.SPEAK:
        wish = task.wish(seat, rng)
        if wish is None:
            return action
        return Action(ActionType.SPEAK, greeting + rng.choice(_WISHES).replace("{wish}", wish))
    if action.type is not ActionType.ACT:
        return action
    act = read_act(action.argument)
    if act.keyword == "offer":
        deal = task.in_words(seat, task.parse_terms(seat, act.rest))
        words = _filled(rng, _offer_sentences(task, observation), observation)
        words = words.replace("{deal}", deal)
    elif act.keyword in _ANSWERS:
        words = _filled(rng, _ANSWERS[act.keyword], observation)
    else:
        return action
    return Action(ActionType.ACT, action.argument, words=greeting + words)


def _offer_sentences(task: Task, observation: Observation) -> Sequence[str]:
    seat = observation.view.seat
    if any(True for _ in task.offers(1 - seat, observation.turns)):
        return _LAST_OFFERS if observation.turns_left <= _LATE else _COUNTERS
    mine = any(True for _ in task.offers(seat, observation.turns))
    return _FURTHER_OFFERS if mine else _OPENINGS


def _filled(rng: Random, sentences: Sequence[str], observation: Observation) -> str:
    """One of the sentences, with the other's first name where it is known."""
    partner = observation.view.partners[0]
    name = f", {partner.first_name}" if partner is not None else ""
    return rng.choice(sentences).replace("{name}", name)


def _own_turns(observation: Observation) -> int:
    return sum(turn.seat == observation.view.seat for turn in observation.turns)
