"""Fakes of devices, libraries and networks."""
