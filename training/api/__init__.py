"""Parley from Python: what the package `parley` offers to scripts and notebooks."""
