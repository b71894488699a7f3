"""Training: data sets in, checkpoints out. Needs the extra ``train`` (torch)."""
