"""Graphs of other precisions: what numbers occur, which nodes may be low, and what the result is worth.

=================  ==========================================================================================
``ranges``         each tensor's largest magnitude on speech
``mixed``          a float32 graph to fp16 or bf16 where that is safe
``int8``           a float32 graph to 8-bit matrix products, for processors
``emulation``      what half precision gives, on a processor that has none
``search``         the smallest set of nodes that must stay float32
=================  ==========================================================================================
"""
