import numpy as np
import tensorflow as tf
from served_model_examples import EDGES, make_vocabulary, mixed_schema

from features import names
from features.vocabulary import Vocabulary
from serving.graph.graph_vocabulary import GraphVocabulary


def look_up(vocabulary, directory, keys):
    vocabulary.save(directory)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        found = GraphVocabulary(vocabulary, directory).lookup(tf.constant(keys, tf.int64))
        session.run(tf.compat.v1.tables_initializer())
        return session.run(found)


def test_the_graph_finds_what_numpy_finds(tmp_path):
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(-(2**63), 2**63 - 1, 20_000))
    ids = rng.permutation(len(keys)).astype(np.int32) + mixed_schema().reserved_ids
    vocabulary = Vocabulary(mixed_schema(), keys, ids, EDGES)
    asked = np.concatenate([rng.permutation(keys), rng.integers(-(2**63), 2**63 - 1, 5000), keys[:10] + 1])
    found = look_up(vocabulary, str(tmp_path / "v"), asked)
    np.testing.assert_array_equal(found, vocabulary.lookup(asked))
    assert found.dtype == np.int64


def test_an_empty_vocabulary_knows_nothing(tmp_path):
    vocabulary = Vocabulary(mixed_schema(), np.empty(0, np.int64), np.empty(0, np.int32), EDGES)
    assert look_up(vocabulary, str(tmp_path / "v"), [1, 2]).tolist() == [-1, -1]


def test_the_arrays_are_assets(tmp_path):
    directory = str(tmp_path / "v")
    vocabulary = make_vocabulary(mixed_schema())
    vocabulary.save(directory)
    with tf.Graph().as_default():
        GraphVocabulary(vocabulary, directory)
        assets = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS)
        paths = [tf.get_static_value(asset).item().decode() for asset in assets]
    assert paths == [f"{directory}/{name}" for name in (names.VOCABULARY_KEYS_FILE, names.VOCABULARY_IDS_FILE)]
