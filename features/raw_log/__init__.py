"""The one reader of a raw log: files, rows and values, for the job and for whoever sends rows to a served model."""
