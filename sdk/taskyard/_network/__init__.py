"""Everything between this process and a control plane; the only importer of gRPC.

Knows runs by their ids and bytes only: nothing here has heard of tasks, flows or futures. What the engine
wants to be told, it leaves as callbacks.
"""
