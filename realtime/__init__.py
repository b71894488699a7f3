"""Real-time face tracking: sources, tracking and sinks."""
