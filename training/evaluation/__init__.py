"""Measures policies on held-out scenarios, and compares them with confidence intervals."""
