"""What is kept when the body of a flow run runs again: the results of calls that have completed."""
