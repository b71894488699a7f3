"""Measured scenarios for the tracker, with faces of known truth."""
