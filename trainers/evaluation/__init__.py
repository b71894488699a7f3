"""Measuring networks: through the tracker, and beside the papers."""
