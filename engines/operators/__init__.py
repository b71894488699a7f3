"""Custom operators: NumPy references, CUDA kernels and their bindings."""
