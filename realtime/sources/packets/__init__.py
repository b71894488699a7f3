"""From a file or stream to frames: its packets, their clock and numbers, and their decoder."""
