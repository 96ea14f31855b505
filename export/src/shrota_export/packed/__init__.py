"""What the engine ``acoustic_torch`` runs: the weights of a checkpoint as one file, in the order in which it uses them."""
