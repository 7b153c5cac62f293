"""From checked options to the parts of a run: who plays, who judges, what learns."""
