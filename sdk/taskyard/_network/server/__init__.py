"""One control plane: where it is, the loop thread on which it is called, and single calls to it.

What needs no session (documents, the command line) uses this and nothing above it.
"""
