"""The reading side: runs, their history and their logs, for whoever shows them.

It stands on the database alone. What a process knows beyond that (an owner: what its open runs do) comes
in as a function, so the server uses this room as a web process without an owner could.
"""
