"""What a run says: metric names, log lines and their regexes, history and progress."""
