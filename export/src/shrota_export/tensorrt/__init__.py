"""From an ONNX graph to a TensorRT plan in the model repository.

One code serves the packages ``tensorrt`` 10 and 11 and ``tensorrt-rtx``: networks are strongly typed, so the precision
is that of the graph, and the builder may choose kernels but no types.
"""
