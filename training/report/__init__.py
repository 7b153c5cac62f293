"""What a run shows: progress on the terminal, metrics for trackers, and the report page."""
