"""Components for Parley from a package of their own."""
