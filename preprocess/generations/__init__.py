"""Ids that stay from one day's vocabulary to the next."""
