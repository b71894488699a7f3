"""Our operators: NumPy references, CUDA kernels, and what calls them."""
