"""The training loop: learners, schedules, checkpoints, recipes."""
