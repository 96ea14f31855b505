"""Finds or brings ``tritonserver``, starts it, keeps it healthy."""
