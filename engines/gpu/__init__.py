"""A GPU: driver, memory, streams, recorded graphs, and arrays of other libraries on it."""
