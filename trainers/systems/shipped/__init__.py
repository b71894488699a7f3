"""Shipped networks: the detector and the landmark network."""
