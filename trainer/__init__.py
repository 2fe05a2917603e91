"""The command: train, eval, infer, export. Flags live here and nowhere below."""

from storage import packages

packages.refuse_shadowed()
