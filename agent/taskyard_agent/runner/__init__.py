"""What runs beside user code: the zygote that forks workers, and the worker.

Imports base dependencies only and nothing of gRPC: a process with gRPC's threads must not fork.
"""
