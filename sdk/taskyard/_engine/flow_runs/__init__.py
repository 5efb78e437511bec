"""A flow run, from its call to its final state, and who executes the task runs in it."""
