"""Terminal: standard streams, progress and log messages."""
