"""How the bundled checkpoint `models/hindi-small` was made: text, synthetic speech, training and evaluation."""
