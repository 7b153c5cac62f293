"""Use the world as a Gymnasium environment, for a library of reinforcement learning of your own.

The partner here takes any offer; pass `partner=` a function from an observation to an action.
"""

import json

import gymnasium

import parley

ACTIONS = (
    {"action_type": "speak", "argument": "I need the water most. What matters to you?"},
    {"action_type": "action", "argument": "offer you food=1 water=0 wood=2"},
)

scenarios = ["camp/train/0", "camp/train/1"]
env = gymnasium.make(parley.GYM_ID, scenarios=scenarios, codec="json")
observation, info = env.reset(seed=0)
print(observation["context"], observation["goal"], sep="\n")
for action in ACTIONS:
    observation, reward, terminated, truncated, info = env.step(json.dumps(action))
    print(f"reward {float(reward):.2f}", observation["transcript"], sep="\n")
    if terminated or truncated:
        break
