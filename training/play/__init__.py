"""Playing: episodes, waves of episodes, and continuations from the middle of an episode."""
