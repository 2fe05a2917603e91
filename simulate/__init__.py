"""Logs in Ali-CCP's format whose true click and conversion rates are known everywhere."""

from storage import packages

packages.refuse_shadowed()
