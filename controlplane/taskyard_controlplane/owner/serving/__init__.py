"""What the RPC layer and the composition root talk to: the owner as a whole, and who is connected to it."""
