"""A model's own copy of its vocabulary: so it can be continued, and score other days, when its data are gone."""

from __future__ import annotations

import json
import os

import storage
from features import names, vocabulary
from features.vocabulary import Vocabulary
from trainer.data_dir import DataDir

_FILES = (names.VOCABULARY_KEYS_FILE, names.VOCABULARY_IDS_FILE, names.SCHEMA_FILE)


def save(model_dir: str, data: DataDir) -> None:
    """Copies the vocabulary of the data into a model_dir, vocabulary.json last; one that is whole there stays."""
    source, target = names.vocabulary_dir(data.path), names.vocabulary_dir(model_dir)
    described = os.path.join(target, names.VOCABULARY_FILE)
    text = storage.read(os.path.join(source, names.VOCABULARY_FILE))
    if storage.exists(described) and storage.read(described) == text:
        return
    storage.remove(described)
    storage.make_folder(target)
    storage.copy_many(*([os.path.join(folder, name) for name in _FILES] for folder in (source, target)))
    storage.write(described, [text])


def load(model_dir: str) -> Vocabulary:
    """The vocabulary that a model was trained with.

    Raises:
        ValueError: the model has none.
    """
    folder = names.vocabulary_dir(model_dir)
    if not storage.exists(os.path.join(folder, names.VOCABULARY_FILE)):
        raise ValueError(
            f"{model_dir}: no {names.VOCABULARY_DIR}/{names.VOCABULARY_FILE} there, so no complete model of this "
            "release; train it with this release, which keeps its vocabulary"
        )
    return vocabulary.load(folder, checked=True)


def description(known: Vocabulary) -> str:
    """Generation and checksum of a vocabulary, for messages."""
    return f"generation {json.dumps(known.generation.get('number'))}, checksum {known.checksum()}"
