"""The families that ship with Parley: each module registers one, and a program checks its goals."""
