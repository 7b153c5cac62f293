"""Seat an agent of your own: a function that takes what it knows and returns what it says.

Here it bargains over a price against a scripted expert, three times, and is judged by a program.
"""

import parley


def my_agent(history: parley.History) -> str:
    """Name a price of its own first, then take whatever is offered."""
    if history.offer:
        return "/accept"
    return "/offer price=12" if not history.turns else "What would be fair to you?"


for dialogue in parley.play(my_agent, "experts", scenarios="price/test/0", episodes=3, seed=1):
    print(dialogue, end="\n\n")
