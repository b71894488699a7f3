"""Checkpoints to files that the tracker runs."""
