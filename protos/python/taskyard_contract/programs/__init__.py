"""What all programs do alike on their machine: where home is, which event loop, whom to die with."""
