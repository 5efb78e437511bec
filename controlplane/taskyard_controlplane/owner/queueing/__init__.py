"""How runs get from their submission to an agent: admission of new ones, ready queues, backlog, dispatch."""
