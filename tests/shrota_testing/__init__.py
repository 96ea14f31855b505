"""What several test folders share: a tiny engine, a repository around it."""
