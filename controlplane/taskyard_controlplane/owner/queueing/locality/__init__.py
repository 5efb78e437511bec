"""Data locality: runs prefer the agents that have their large inputs."""
