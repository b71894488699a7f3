"""The generic head of the head pose, and the accuracy of all measures."""
