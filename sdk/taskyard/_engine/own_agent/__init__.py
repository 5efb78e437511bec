"""Agents that a program starts for itself: for `ProcessPoolTaskRunner`, and on the workers of clusters."""
