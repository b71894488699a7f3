"""Export of checkpoints to files that the tracker runs."""
