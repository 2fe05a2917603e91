"""First step: files of a raw log to columns, row by row accepted or rejected."""
