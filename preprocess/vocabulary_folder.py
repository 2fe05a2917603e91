"""A vocabulary folder on any storage."""

from __future__ import annotations

import storage
from features import names, raw_requests, vocabulary
from features.vocabulary import Vocabulary
from preprocess.generations import history


def load(folder: str) -> Vocabulary:
    """The vocabulary, mapped into memory where it is local."""
    return vocabulary.load(folder)


def load_checked(folder: str) -> Vocabulary:
    """The vocabulary that a run goes on from or hands on, when every file of its folder was looked at.

    Raises:
        ContentsError: with the file that is damaged.
        FileNotFoundError: no vocabulary there.
    """
    loaded = vocabulary.load(folder, checked=True)
    history.load(folder, loaded)
    samples = storage.join(folder, names.SAMPLE_REQUESTS_FILE)
    if storage.exists(samples):
        raw_requests.load(samples)
    return loaded


def save(made: Vocabulary, folder: str) -> None:
    """Writes the folder, local or remote."""
    if storage.is_local(folder):
        storage.remove(folder)
        made.save(folder)
        return
    with storage.local_folder() as temporary:
        made.save(storage.join(temporary, names.VOCABULARY_DIR))
        storage.move(storage.join(temporary, names.VOCABULARY_DIR), folder)


def paths(folder: str) -> list[str]:
    """Files of a vocabulary that the job has built, its history included."""
    built = [storage.join(folder, name) for name in vocabulary.FILES]
    return built + [storage.join(folder, names.HISTORY_DIR, name) for name in history.DTYPES]


def copy(source: str, target: str) -> None:
    """Writes the folder again, with its history where it has one."""
    save(load(source), target)
    found = [path for path, _ in storage.walk(storage.join(source, names.HISTORY_DIR))]
    places = [storage.join(target, names.HISTORY_DIR, path.rsplit("/", 1)[-1]) for path in found]
    if found:
        storage.make_folder(storage.join(target, names.HISTORY_DIR))
        storage.copy_many(found, places)
