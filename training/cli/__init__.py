"""The command line: options in, a checked configuration out. Nothing else knows Hydra."""
