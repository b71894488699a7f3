"""TensorRT: building, caching, checking and running of plans."""
