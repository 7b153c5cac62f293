"""What is measured of policies, how surely, and how they are compared."""
