"""Offline annotation: every frame of files, resumable, improved by looking ahead, in the formats of the field."""
