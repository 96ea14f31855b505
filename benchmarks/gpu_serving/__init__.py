"""The engine on a GPU, in process and through Triton: ``python -m benchmarks.gpu_serving``, see :mod:`.__main__`."""
