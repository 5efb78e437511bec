"""Runs as data: their states, the records that user code sees, and how both are read from messages."""
