"""``make bench``: what the README claims about speed and memory, measured in one run; ratios, since machines differ."""
