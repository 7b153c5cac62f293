"""Judge a dialogue that was held elsewhere: what was reached, and in which of seven dimensions.

The verifiable judge is a program; `judge=` takes any other, a model behind an API, too.
"""

import parley

scenario = parley.scenario_of("plans/test/0")
print(scenario.context)
dialogue = parley.judge_lines(
    scenario,
    ["Where would you like to go?", f"/offer {scenario.task.terms(1, (0,))}", "/accept"],
)
print(dialogue)
for seat, scores in enumerate(dialogue.scores):
    print(f"seat {seat}: goal {scores.goal:.1f}, overall {scores.overall:.2f}")
