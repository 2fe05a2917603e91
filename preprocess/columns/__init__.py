"""Rows in memory and on disk: flat arrays, ragged lists, files of segments. What all steps of the job work on."""
