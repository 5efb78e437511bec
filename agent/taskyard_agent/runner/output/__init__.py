"""What runs write to standard output and error, and to loggers: from user code to the agent."""
