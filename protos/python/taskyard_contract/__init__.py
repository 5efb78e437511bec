"""What the control plane, the agent and the SDK agree on beyond the generated messages."""
