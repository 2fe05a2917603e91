"""Last step: joined requests, with new ids, to record files; rejected rows to theirs."""
