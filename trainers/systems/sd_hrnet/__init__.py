"""SD-HRNet."""
