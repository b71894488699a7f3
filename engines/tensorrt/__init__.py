"""TensorRT: plans built, cached, compared with ONNX Runtime, and run."""
