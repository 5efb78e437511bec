"""What an event means for runs: reports, dependencies and cache keys, settled into the open commit."""
