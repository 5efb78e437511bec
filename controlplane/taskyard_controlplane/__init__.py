"""The control plane: owns the run state machine, the dependency graph, the queue and the cache index."""
