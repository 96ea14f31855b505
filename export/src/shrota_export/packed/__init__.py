"""What the engine ``acoustic_torch`` runs: the weights of a checkpoint in one file, laid out as it uses them."""
