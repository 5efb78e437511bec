"""Serving tasks: this program executes deferred runs of the tasks that it has in its own code.

Stands on `thread_agent`, which executes what this program itself has submitted. Here a run comes from
anywhere: its arguments arrive as they do at an agent, its code is this program's own.
"""
