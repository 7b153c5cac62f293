"""Episode logs in SOTOPIA's form, made up here."""

from __future__ import annotations

from typing import Any

ANA, BEN = "Ana Ruiz", "Ben Okoro"
SCENE = "Two neighbours stand at a broken fence between their gardens after a storm."
GOALS = {
    ANA: "Have Ben pay half of the new fence.",
    BEN: "Keep the old fence, which your father built.",
}
BIO = {
    ANA: f"{ANA} is a 34-year-old female nurse. She/her pronouns. Ana keeps bees. Personality and"
    " values description: Ana is warm, and blunt. Ana's secrets: She broke the fence herself.",
    BEN: f"{BEN} is a 51-year-old male baker. He/him pronouns. Ben sings in a choir. Personality"
    " and values description: Ben is shy. Ben's secrets: He is moving away.",
}
SAID = (
    (ANA, 'said: "Good morning, Ben. That fence is "done" for."'),
    (BEN, "[non-verbal communication] shakes his head"),
    (ANA, "did nothing"),
    (BEN, "[action] props up a post"),
    (ANA, "left the conversation"),
)


def background(name: str, *, other: str = "Unknown", other_goal: str = "Unknown") -> str:
    """What the environment tells an agent before the first turn."""
    told = {one: BIO[one] if one == name else other for one in (ANA, BEN)}
    goals = {one: GOALS[one] if one == name else other_goal for one in (ANA, BEN)}
    lines = (
        "Here is the context of this interaction:",
        f"Scenario: {SCENE}",
        f"Participants: {ANA} and {BEN}",
        *(f"{one}'s background: {text}" for one, text in told.items()),
        *(f"{one}'s goal: {text}" for one, text in goals.items()),
    )
    return "\n" + "\n".join(lines) + "\nConversation Starts:\n"


def in_scene(scene: str) -> dict[str, Any]:
    """A log of the same dialogue in another scene."""
    log = episode_log()
    for message in log["messages"][0]:
        message[2] = message[2].replace(SCENE, scene)
    return log


def scores(goal: float) -> list[Any]:
    """One agent's rewards: overall, and by dimension."""
    return [3.5, {"believability": 9.0, "goal": goal, "overall_score": 3.5}]


def episode_log(
    said: tuple[tuple[str, str], ...] = SAID, *, goals: tuple[float, float] = (8, 4), **more: Any
) -> dict[str, Any]:
    """A log as SOTOPIA keeps it: in each turn the agent that has to wait did nothing."""
    messages = [[["Environment", name, background(name, **more)] for name in (ANA, BEN)]]
    for number, (name, text) in enumerate(said):
        other = BEN if name == ANA else ANA
        messages[-1] += [[name, "Environment", text], [other, "Environment", "did nothing"]]
        messages.append(
            [["Environment", one, f"Turn #{number}: {name} {text}\n"] for one in (ANA, BEN)]
        )
    return {
        "pk": "01H",
        "environment": "env-1",
        "agents": ["agent-1", "agent-2"],
        "tag": "made-up",
        "models": ["judge", "one", "two"],
        "messages": messages,
        "reasoning": "So it seems.",
        "rewards": [scores(goal) for goal in goals],
        "rewards_prompt": "",
    }
