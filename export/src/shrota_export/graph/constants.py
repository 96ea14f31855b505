"""Constants of the engine that others must know, who do not need PyTorch."""

MASKED_SCORE = -1e4
"""What is added to the attention score of a padding frame.

Not the least float32, which half precision turns into -inf: a row that is all padding would become NaN. -1e4 is finite
in float16 (least -65504, which leaves room for the score itself), and exp(-1e4 + score - maximum) is exactly 0 in
float32, bfloat16 and float16 alike, so that padding has no weight at all.
"""

TARGET = "shrota.target"
"""Key of the graph's metadata; what it is made for, see :class:`~shrota_export.graph.engine.Target`."""
