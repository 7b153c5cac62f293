"""SOTOPIA's checkable goals, read: worked by hand here, and on its own files where at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.contract import check_task
from envs.errors import ActionError, DataError
from envs.referee import attainable, goal_score
from envs.scenarios.dollars import DollarTask, dollars, from_targets, step_cents
from envs.scenarios.families.item_split import SplitTask
from envs.scenarios.friends import FriendsTask
from envs.scenarios.records import EnvironmentRecord
from envs.scenarios.sotopia import read_sotopia
from envs.scenarios.sotopia_tasks import read_verifiable


def record(source: str, scenario: str, *goals: str) -> EnvironmentRecord:
    return EnvironmentRecord(
        env_id="e", source=source, scenario=scenario, agent_goals=goals, relationship=0
    )


def division(*goals: str, scene: str = "They divide 3 books, 1 hat and 2 balls.") -> SplitTask:
    read = read_verifiable(record("deal-or-no-deal", scene, *goals))
    assert read is not None
    assert isinstance(read.task, SplitTask)
    assert "`offer you book=<n> hat=<n> ball=<n>`" in read.acts
    return read.task


@pytest.mark.parametrize(
    "words",
    [
        "Books give you 5 points each, hats give you 3 points each, the ball gives you 2 points",
        "Each book is worth 5 points, each hat is worth 3 points, the ball is worth 2 points",
        "you value the books at 5 points each, the hats at 3 points each, and the ball at 2 points",
        "For you, 1 book = 5 points, 1 hat = 3 points, 1 ball = 2 points",
        "You value each book as 5 points, each hat as 3 points, and the ball as 2 points",
        "a book is worth 5 points, a ball is 2 points, and a hat equals 3 points",
    ],
)
def test_points_are_read_in_all_of_sotopias_wordings(words: str) -> None:
    goal = f"Maximise (<extra_info>Extra information: {words}</extra_info>)"
    task = division(goal, goal)
    assert task.items == ("book", "hat", "ball")
    assert task.pool == (3, 1, 2)
    assert task.values == ((5, 3, 2), (5, 3, 2))


def test_unreadable_goals_are_errors_and_not_guesses() -> None:
    whole = "a book is worth 5 points, a hat is worth 3 points, a ball is worth 2 points"
    with pytest.raises(DataError, match="the goal 1 does not tell the points of one hat"):
        division(whole, "a book is worth 5 points, a ball is worth 2 points")
    with pytest.raises(DataError, match="the goal 0 does not tell the points of one ball"):
        division(whole + ", no, the ball is worth 4 points", whole)
    with pytest.raises(DataError, match="the scene does not tell the numbers"):
        division(whole, whole, scene="They divide some books.")
    with pytest.raises(DataError, match="has 3 goals, expected 2"):
        division(whole, whole, whole)


def test_other_sources_are_for_judges() -> None:
    assert read_verifiable(record("social_iqa", "3 books, 2 hats", "Win", "Lose")) is None


@pytest.mark.parametrize("listed", ["$5,000", "$5000", "$5,000.00"])
def test_a_price_with_a_comma_between_thousands_is_read_whole(listed: str) -> None:
    read = read_verifiable(
        record(
            "craigslist_bargains",
            f"A car is listed at {listed}.",
            "You are the buyer, your target price is $3,260.",
            "You are the seller, your target price is $4,600.50.",
        )
    )
    assert read is not None
    assert read.task == from_targets(5000_00, (3260_00, 4600_50))


@pytest.mark.parametrize("listed", ["$5,00", "$5,0000", "$50,00,000", "$12345678"])
def test_a_price_with_a_comma_elsewhere_is_refused(listed: str) -> None:
    goals = ("You are the buyer, your target price is $3.", "The seller: target price $4.")
    with pytest.raises(DataError, match="the scene does not tell one price"):
        read_verifiable(record("craigslist_bargains", f"A car is listed at {listed}.", *goals))


def test_a_price_between_compatible_targets_meets_both() -> None:
    # Listed at $30, so significant is more than $10: limits $28 and $5, both targets reachable.
    task = from_targets(30_00, (18_00, 15_00))
    assert task.limits_cents == (28_00, 5_00)
    assert task.aims == (10_00, 10_00)
    assert [goal_score(task, seat, (17_00,)) for seat in (0, 1)] == [10, 10]
    # $20: the buyer saves 8 of the 10 dollars that it aims for.
    assert [goal_score(task, seat, (20_00,)) for seat in (0, 1)] == [8, 10]


def test_targets_apart_are_met_halfway_between_the_limits() -> None:
    # Limits $20 (the listed price) and $14; Nash is the middle, $17, with $3 of points for each.
    task = from_targets(20_00, (15_00, 20_00 + 66))
    assert task.limits_cents == (20_00, 14_00)
    assert task.aims == (3_00, 3_00)
    assert attainable(task).nash_deal == (17_00,)
    assert goal_score(task, 0, (20_00,)) == 0
    assert goal_score(task, 1, (13_00,)) == 0


def test_limits_are_rounded_inwards_to_the_grid() -> None:
    task = from_targets(20_00, (10_00, 12_00))
    # 10 + 20/3 = 16.666 is cut to 16.60; 12 - 20/3 = 5.333 is raised to 5.40.
    assert task.limits_cents == (16_60, 5_40)


@pytest.mark.parametrize(
    ("text", "cents"),
    [("price=17.30", 17_30), ("17.3", 17_30), ("$17", 17_00), ("price = $17.00", 17_00)],
)
def test_prices_are_read_as_people_write_them(text: str, cents: int) -> None:
    assert from_targets(20_00, (15_00, 16_00)).parse_terms(0, text) == (cents,)


@pytest.mark.parametrize(
    "text", ["price=20.10", "0", "1,7", "1,000", "17.35", "-3", "all I have", "1.234", ""]
)
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ActionError, match=r"steps of \$0.10; write it as 'price=20.00'"):
        from_targets(20_00, (15_00, 16_00)).parse_terms(0, text)


def test_dollars_and_steps() -> None:
    assert [dollars(c) for c in (5_000_00, 17_30, 5)] == ["$5000", "$17.30", "$0.05"]
    assert from_targets(5_000_00, (4_000_00, 3_000_00)).parse_terms(1, "$4,600") == (4_600_00,)
    assert [step_cents(c) for c in (999_99, 1_000_00)] == [10, 100]


FRIENDS = FriendsTask((10.0, 10.0), (("Al", "Bo", "Cy"), ("Di", "Al", "Bo")), mutual=("Al",))


def test_only_a_mutual_friend_earns() -> None:
    assert FRIENDS.names == ("Al", "Bo", "Cy", "Di")
    assert [FRIENDS.utility(0, deal) for deal in FRIENDS.deals()] == [10, 0, 0, 0]
    check_task(FRIENDS)


def test_an_unknown_name_is_refused_without_telling_the_others() -> None:
    with pytest.raises(ActionError) as caught:
        FRIENDS.parse_terms(0, "Eve")
    assert "Di" not in str(caught.value)
    assert FRIENDS.parse_terms(1, " cy ") == (2,)


def test_listing_is_naming_three_of_ones_own() -> None:
    assert FRIENDS.leaks(0, "I know Al, Bo and Cy.")
    assert not FRIENDS.leaks(0, "I know Al and Bo, and you know Di?")
    assert not FRIENDS.leaks(0, "Also, Boston and Cyprus are nice.")


def friends(*about: str) -> EnvironmentRecord:
    goals = [f"Find out.\n<extra_info> You know:\n{lines}\n</extra_info>" for lines in about]
    return record("mutual_friends", "A party.", *goals)


def test_namesakes_are_no_mutual_friends() -> None:
    read = read_verifiable(
        friends(
            "Al: Hobby: Go  School: A & B\n Bo: Hobby: Go",
            "Al: Hobby: Go  School: A & B\n Bo: Hobby: Golf",
        )
    )
    assert read is not None
    assert read.task == FriendsTask((10.0, 10.0), (("Al", "Bo"), ("Al", "Bo")), ("Al",))
    with pytest.raises(DataError, match="a friend who is in both lists"):
        read_verifiable(friends("Al: Hobby: Go\nBo: Hobby: Go", "Al: Hobby: Art\nDi: Hobby: Go"))


# Read from the files by eye: what the goals say, in the order of the codenames.
PRICES = {
    "craigslist_bargains_00000": (650_00, 454_00, 610_00),
    "craigslist_bargains_00001": (349_00, 174_00, 263_00),
    "craigslist_bargains_00002": (200_00, 152_00, 172_50),
    "craigslist_bargains_00003": (20_00, 14_00, 17_30),
    "craigslist_bargains_00004": (15_00, 9_00, 8_00),
    "craigslist_bargains_00005": (125_00, 112_00, 76_90),
    "craigslist_bargains_00006": (5000_00, 4600_00, 3260_00),
    "craigslist_bargains_00007": (60_00, 30_00, 58_60),
    "craigslist_bargains_00008": (550_00, 418_00, 312_00),
    "craigslist_bargains_00009": (50_00, 46_00, 26_50),
}
MUTUAL = "Gracie Harvey Neoma Lawrence Jacob Rafael Loretta Thanh Micheline Alvin".split()  # noqa: SIM905
POOLS_AND_VALUES = {
    ((3, 2, 1), (5, 3, 2), (2, 5, 3)),
    ((3, 2, 1), (2, 3, 5), (3, 2, 4)),
    ((4, 6, 2), (3, 2, 1), (1, 3, 2)),
    ((3, 2, 1), (1, 2, 3), (2, 1, 3)),
    ((3, 2, 1), (1, 2, 3), (3, 1, 2)),
    ((3, 2, 1), (2, 1, 3), (1, 2, 3)),
    ((1, 4, 3), (5, 3, 7), (2, 4, 10)),
    ((3, 2, 1), (3, 2, 1), (2, 3, 1)),
}


def test_all_thirty_of_sotopias_are_read_as_they_are_written(published: Path) -> None:
    read = {e.env_id: read_verifiable(e) for e in read_sotopia(published / "sotopia").environments}
    codenames = {e.env_id: e.codename for e in read_sotopia(published / "sotopia").environments}
    tasks = {name: found.task for name, found in read.items() if found is not None}
    assert len(tasks) == 30
    splits = [task for task in tasks.values() if isinstance(task, SplitTask)]
    assert len(splits) == 10
    assert {(task.pool, *task.values) for task in splits} == POOLS_AND_VALUES
    for name, task in tasks.items():
        if isinstance(task, DollarTask):
            listed, buyer, seller = PRICES[codenames[name]]
            assert task == from_targets(listed, (buyer, seller))
        if isinstance(task, FriendsTask):
            number = int(codenames[name].removeprefix("mutual_friend_"))
            assert task.mutual == (MUTUAL[number],)


def test_every_bargain_of_sotopia_has_room_for_both(published: Path) -> None:
    for listed, buyer, seller in PRICES.values():
        task = from_targets(listed, (buyer, seller))
        assert task.limits_cents[0] > task.limits_cents[1]
        check_task(task)
        both_met = buyer >= seller
        at_targets = (task.limits_cents[0] - buyer, seller - task.limits_cents[1])
        assert (task.aims == at_targets) == both_met
