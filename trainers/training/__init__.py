"""Training loop, schedules, run state and recipes."""
