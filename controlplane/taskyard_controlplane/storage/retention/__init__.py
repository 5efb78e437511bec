"""Removes what is over, the same SQL for both databases: nobody waits for it who waits for runs."""
