"""The agent: pulls runs from a control plane and executes them in worker processes."""
