"""What is recorded: the commits, the templates they name, and the way back from rows to records."""
