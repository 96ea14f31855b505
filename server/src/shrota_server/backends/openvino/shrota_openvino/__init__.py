"""The parts of the OpenVINO backend that know nothing of Triton."""
