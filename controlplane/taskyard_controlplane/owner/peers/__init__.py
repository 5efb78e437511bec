"""Who is connected: the live sessions of clients and agents, and what is to be sent to each.

Nothing here knows what a run may do next; a session only gathers until its stream writes the next frame.
"""
