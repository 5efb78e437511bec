"""Values on their way: containers, hashes, failures, and results that are still awaited."""
