"""Data sets in miniature."""
