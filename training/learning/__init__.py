"""How the policy learns from examples: packed rows, reference passes, updates and cloning."""
