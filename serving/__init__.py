"""Serving signatures, warm-up, REST client and local REST server."""
