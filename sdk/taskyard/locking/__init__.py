"""Locks of transactions: who may do what a key stands for, one at a time."""

__all__ = ["filesystem", "memory", "protocol"]
