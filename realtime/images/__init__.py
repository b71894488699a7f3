"""Images of frames, on the host or on a GPU: they fill the input of a network."""
