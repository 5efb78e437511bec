"""What is assigned, as whoever executes it reads it: runs, their arguments, results of upstream runs."""
