"""Measure two agents on the same held-out scenarios, and compare them in pairs.

Each evaluation keeps its episodes, a table and a report in a folder of its own.
"""

import parley


def yes(history: parley.History) -> str:
    """Take the first offer."""
    return "/accept" if history.offer else "What do you propose?"


def stubborn(history: parley.History) -> str:
    """Take an offer only when time runs out."""
    if history.offer and history.turns_left <= 3:
        return "/accept"
    return "I was hoping for a little more."


SMALL = {"env": "plans", "evaluation.scenarios": 8}
results = [parley.evaluate(agent, partner="scripted", options=SMALL) for agent in (yes, stubborn)]
print(parley.compare(*results))
