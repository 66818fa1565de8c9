"""What a run reports: metric names, log lines and their regexes, history, progress, and its observers."""
