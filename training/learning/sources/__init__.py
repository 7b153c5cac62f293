"""The sources of demonstrations, each in a module of its own that registers it by name."""
