"""Values on their way: containers, keys, failures, and results that are still awaited."""
