"""Keeps a run on disk: its folder, its database, its checkpoints; all survive a kill."""
