"""Readers, one for each published layout."""
