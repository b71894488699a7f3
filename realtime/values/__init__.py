"""Types and checks of values: arrays, numbers and the times of frames."""
