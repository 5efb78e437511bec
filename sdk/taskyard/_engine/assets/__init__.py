"""Assets: what tasks make that outlives their runs, and what is recorded of it."""
