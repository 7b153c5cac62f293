"""Critics: which turn of an episode to branch from, and how much of a branch to learn from."""
