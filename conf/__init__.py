"""The configuration files of Parley: one folder a group, one file an option."""
