"""Training: the trainer's story, and its losses, schedule, precision, process group and checkpoints."""
