"""The page of a load test, made from its JSON alone."""
