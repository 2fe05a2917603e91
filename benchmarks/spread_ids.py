"""Records of a small log with their ids spread over a vocabulary of any size: what training costs at Ali-CCP's size.

A small log has few distinct ids, and a table of their rows fits into a processor's cache. Here the most frequent tenth
of the ids stays as it is. Each of the others stands for as many new ones as the wanted size allows, and a request
uses one of them, by its number: so a batch still finds frequent ids in many requests and rare ones in few, and
training reads rows from the whole table.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from features import names
from features.schema import Schema
from features.vocabulary import Vocabulary
from input_fn import files, tfrecord
from trainer import data_dir

_KEPT_SHARE = 0.1
# A prime, so that requests that follow each other use distant ids.
_STEP = 7919


def make(source: str, folder: str, size: int) -> str:
    """Path of a data_dir like `source` with a vocabulary of `size` ids; made in `folder` where it is not there yet."""
    out = os.path.join(folder, f"ids-{size}")
    if os.path.exists(os.path.join(out, names.SUCCESS_FILE)):
        return out
    data = data_dir.load(source)
    first = data.schema.reserved_ids
    kept = first + round((data.vocabulary.size - first) * _KEPT_SHARE)
    copies = (size - kept) // (data.vocabulary.size - kept)
    if copies < 1:
        raise SystemExit(f"{source} has {data.vocabulary.size} ids already, more than {size}")
    for split in names.SPLITS:
        os.makedirs(os.path.join(out, split), exist_ok=True)
        for path in files.find(data.records(split)):
            _spread_file(path, os.path.join(out, split, os.path.basename(path)), data.schema, kept, copies)
    ids = np.arange(first, size, dtype=np.int32)
    Vocabulary(data.schema, ids.astype(np.int64), ids, data.vocabulary.boundaries).save(names.vocabulary_dir(out))
    with open(os.path.join(out, names.SUCCESS_FILE), "w", encoding="utf-8"):
        return out


def _spread_file(source: str, target: str, schema: Schema, kept: int, copies: int) -> None:
    options = "GZIP" if tfrecord.is_compressed(source) else ""
    with tf.io.TFRecordWriter(target, options) as writer:
        for number, serialized in enumerate(tfrecord.read(source)):
            example = tf.train.Example.FromString(serialized)
            for field in schema.fields:
                values = example.features.feature[field.name].int64_list.value
                ids = np.array(values, np.int64)
                spread = kept + (ids - kept) * copies + number * _STEP % copies
                values[:] = np.where(ids < kept, ids, spread).tolist()
            writer.write(example.SerializeToString())
