"""Faces exchanged with files and with other libraries."""
