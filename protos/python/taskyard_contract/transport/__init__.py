"""How frames and blobs get from program to program; beside the agent's link the only room that knows gRPC."""
