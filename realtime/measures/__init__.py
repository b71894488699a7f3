"""Measures of a face: head pose, openings of eyes and mouth, and blinks."""
