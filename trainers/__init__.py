"""Data in, checkpoint out. Needs the extra ``train`` (torch)."""
