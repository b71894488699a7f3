"""Evaluation of networks: through the tracker, and compared with the papers."""
