"""Pixel-wise classification (PWC)."""
