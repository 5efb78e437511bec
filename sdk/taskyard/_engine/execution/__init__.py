"""User code where it runs: the body of a task, its attempts, hooks, interrupts and reports.

The only room that a worker of an agent needs besides the definitions.
"""
