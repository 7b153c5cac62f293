"""Checks, cost and memory estimates, and set-up, before a run starts."""
