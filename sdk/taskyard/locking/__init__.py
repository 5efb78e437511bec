"""Locks of transactions: who may do what a key stands for, one at a time."""
