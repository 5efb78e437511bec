"""Transactions: runs, and code around them, whose effects stay together or are undone together."""
