"""The folder that the server watches: a version appears and goes by one rename."""

from __future__ import annotations

import os

import storage
from daily.day import SERVED, WITHDRAWN


def versions(root: str) -> list[str]:
    """Names of the versions that are served, oldest first."""
    folder = os.path.join(root, SERVED)
    return sorted((name for name in storage.names_in(folder) if name.isdigit()), key=int)


def latest(root: str) -> str:
    """The newest version: what a server serves; empty: none."""
    return (versions(root) or [""])[-1]


def next_version(root: str, candidate: str) -> str:
    """The name that a tried version gets: its own, or more where a clock that went back would leave it behind."""
    own = os.path.basename(candidate)
    if own in versions(root):
        # Made again after a kill behind the rename.
        return own
    withdrawn = storage.names_in(os.path.join(root, WITHDRAWN))
    before = [*versions(root), *filter(str.isdigit, withdrawn)]
    return str(max([int(own), *(int(name) + 1 for name in before)]))


def publish(root: str, candidate: str, version: str) -> None:
    """Moves a tried version into the served folder. Again after a kill: nothing is left to do."""
    target = os.path.join(root, SERVED, version)
    if not os.path.exists(target):
        storage.move(candidate, target)


def last_two(root: str) -> tuple[str, str]:
    """The newest version, and the one that is served without it.

    Raises:
        ValueError: there is none before it.
    """
    found = versions(root)
    if len(found) < 2:
        raise ValueError(
            f"--rollback: {os.path.join(root, SERVED)} holds {len(found)} versions, so there is none to go back to"
        )
    return found[-1], found[-2]


def withdraw(root: str, version: str) -> None:
    """Moves a version out of the served folder."""
    storage.move(os.path.join(root, SERVED, version), os.path.join(root, WITHDRAWN, version))


def keep_newest(root: str, count: int) -> None:
    """Removes all versions but the newest ones."""
    for version in versions(root)[:-count]:
        storage.remove(os.path.join(root, SERVED, version))
