"""Secrets at rest: what encrypts them, and the keys, which are never in the database."""
