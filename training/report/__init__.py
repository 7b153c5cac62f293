"""Shows a run: progress on the terminal, metrics for trackers, and the HTML report."""
