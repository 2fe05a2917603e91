"""The command: train, eval, infer, export. Flags live here and nowhere below."""
