"""GPU access: driver, memory, streams, CUDA graphs and arrays of other libraries."""
