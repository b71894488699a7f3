"""Rounds of tracking: the newest frames of all sources, through one set of networks."""
