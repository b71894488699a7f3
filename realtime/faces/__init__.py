"""Frames and faces, the two types that pass through the pipeline, and the drawing of faces."""
