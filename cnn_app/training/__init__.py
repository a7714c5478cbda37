"""Training: the loop, learning rates, checkpoints and resuming."""
