"""A whole installation in one process, under a time of its own: see docs/simulation.md."""
