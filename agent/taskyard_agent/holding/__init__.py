"""What an agent has in hand, however it executes it: chunks, their queue, their blobs, and how they leave.

Any executor stands on this; nothing here knows processes.
"""
