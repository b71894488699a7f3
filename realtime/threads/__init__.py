"""Threads of a pipeline: channels between them, and the time that each stage takes."""
