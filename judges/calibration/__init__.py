"""Measures how good a judge is: agreement with labels, consistency, resistance to manipulation."""
