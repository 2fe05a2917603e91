"""The daily run: for each day of logs, preprocess, validate, train on, export, and let a gate decide what is served."""

from storage import packages

packages.refuse_shadowed()
