"""The worker processes that a pool has started."""

import pathlib


def of(pool_process):
    """Ids of the worker processes that a pool started."""
    children = pathlib.Path(f"/proc/{pool_process}/task")
    found = []
    for task in children.glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found
