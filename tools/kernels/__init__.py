"""Bench of the CUDA kernels, and what a GPU could do at best."""
