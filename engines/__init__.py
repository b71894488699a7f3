"""Run a network: arrays in, arrays out. Knows nothing of faces or video."""
