"""The Beam job: raw logs in, filtered and remapped TFRecords, a vocabulary and a report out."""

from storage import packages

packages.refuse_shadowed()
