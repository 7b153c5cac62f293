"""What a summary says beside its numbers: players that are not understood are an alarm."""

from __future__ import annotations

from tests.training.evaluation.test_measures import talk
from training.evaluation.alarms import invalid_turns, near_misses
from training.evaluation.outcomes import Outcome

PROSE = "I would love to go to the zoo."


def test_a_player_that_is_not_understood_is_an_alarm_with_its_first_words() -> None:
    """Seat 0, p, says nothing that can be read in 2 of 2 turns; q in none of 2."""
    played = talk(PROSE, "say i like zoo", PROSE, "do offer zoo")
    (note,) = invalid_turns({"final": {"experts": Outcome((played, played), ((0,), (0,)))}})
    assert note.startswith("ALARM: 4 of 4 turns of p (final against experts) are no valid action")
    assert "'I'" in note, "it quotes what could not be read"


def test_a_slip_in_ten_turns_is_none() -> None:
    slip = talk(PROSE, *["say i like zoo"] * 19)  # one of ten turns of p
    assert invalid_turns({"final": {"self": Outcome((slip,), ((0, 1),))}}) == []
    two = talk(PROSE, "say i like zoo", PROSE, *["say i like zoo"] * 17)
    assert len(invalid_turns({"final": {"self": Outcome((two,), ((0, 1),))}})) == 1


def test_a_yes_without_the_act_is_a_note() -> None:
    """q says deal to the standing offer once in 2 turns and closes nothing."""
    played = talk("do offer zoo", "say deal", "say well", "say hm")
    found = {"final": {"self": Outcome((played,), ((0, 1),))}}
    assert near_misses(found) == [
        "In 1 of 2 turns of q (final against self) a yes was said without the act that closes a "
        "deal."
    ]
    assert invalid_turns(found) == []
