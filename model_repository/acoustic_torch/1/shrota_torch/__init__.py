"""The engine in PyTorch for GPUs: half precision, rows without padding, kernels of its own where PyTorch has none."""
