"""Rollbacks that outlive the process of their flow run: hooks as runs that wait for its loss."""
