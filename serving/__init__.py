"""Serving signatures, warm-up, REST client and local REST server."""

from storage import packages

packages.refuse_shadowed()
