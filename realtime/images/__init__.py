"""Frame images on the host or on a GPU, and how they fill a network's input."""
