"""The engine as a PyTorch module: what is exported, from raw audio to log-probabilities."""
