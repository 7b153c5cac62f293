"""How good a judge is: agreement with labels, consistency, and resistance to manipulation."""
