"""A first schema file of a log that nobody has described yet, from a sample of its rows."""
