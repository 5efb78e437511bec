"""The threads of this process as an agent: executes task runs where they were submitted."""
