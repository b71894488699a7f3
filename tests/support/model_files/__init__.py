"""Model files and checkpoints, sound and damaged."""
