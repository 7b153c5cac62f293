"""What is checked, estimated and set up before a run starts."""
