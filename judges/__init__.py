"""Who scores: judges give an episode its seven dimensions, critics say which turn went wrong."""
