"""The data process: bytes of blobs by HTTP, beside the control plane and not through it.

In the control plane: `grants` lets peers in, `keeper` keeps the process. In the process: all the others.
Both know `tickets`, which is what lets one in, and `instructions`, which the process begins with.
"""
