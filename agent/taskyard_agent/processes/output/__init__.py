"""What comes through the pipes of a worker, and how much of what its runs print is passed on."""
