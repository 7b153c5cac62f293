"""Who acts: scripted experts, the local policy and, later, API models and people."""
