"""Modules under the names they had in release 0.1.0, for the pickles that it stored.

Release 0.1.0 pickled private classes and functions under the modules in which they happened to be. These
are found here, because `taskyard` looks for its modules in this folder too (see its ``__path__``), without
any cost to programs that read no such pickle. Nothing imports them, nothing is added to them, and they are
never removed.
"""
