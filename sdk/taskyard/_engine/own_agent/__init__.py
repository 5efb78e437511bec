"""Agents that a program starts for itself, for `ProcessPoolTaskRunner`."""
