"""The parts of the ONNX Runtime backend that know nothing of Triton."""
