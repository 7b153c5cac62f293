"""The social environment: scenarios, rules, episodes, and interfaces for Gymnasium and PettingZoo.

It is pure state without models or network. Importing it registers `parley/Social-v0`.
"""

from gymnasium.envs.registration import register, registry

GYM_ID = "parley/Social-v0"

if GYM_ID not in registry:
    register(id=GYM_ID, entry_point="envs.gym:SocialGymEnv")
