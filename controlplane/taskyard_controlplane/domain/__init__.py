"""The rules of runs, free of I/O: what may happen in which state, and what follows from it.

Nothing in here knows a clock, a database, a network or a log; the owner, the tests and the diagrams all
use the same tables.
"""
