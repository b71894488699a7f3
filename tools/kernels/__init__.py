"""Benchmark of the CUDA kernels, and the roofline of a GPU."""
