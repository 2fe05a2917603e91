"""--pretrained: rows of the table that begin with vectors of a file."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir

from model_fn.hyperparameters import Hyperparameters
from trainer import data_dir, pretrained, training
from trainer.options import Options

pytestmark = pytest.mark.commands
SCHEMA = small_schema()
# Steps that move nothing, so that the rows can be compared.
STILL = Hyperparameters(deep_layers=(4,), embedding_size=4, embedding_optimizer="SGD", embedding_learning_rate=1e-9)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pretrained") / "data")
    write_data_dir(folder, SCHEMA, vocabulary_size=40, train=20, test=5)
    return folder


def table(model):
    return tf.train.load_variable(model, "model/embedding_table")


def test_known_rows_begin_with_the_vectors_and_go_on_from_there(data, tmp_path, capsys):
    ids = np.array([1003, 1007, 5, 1001])
    vectors = np.arange(16, dtype=np.float32).reshape(4, 4) + 10
    np.savez(tmp_path / "items.npz", ids=ids, vectors=vectors)
    options = {"data_dir": data, "model_dir": str(tmp_path / "m"), "batch_size": 32}
    given = {"pretrained": f"item:{tmp_path}/items.npz"}
    training.train(Options(**options, **given, max_steps=1), STILL, {})
    assert "item: 3 of 4 pretrained rows are in the vocabulary" in capsys.readouterr().out
    known = data_dir.load(data).vocabulary
    new = dict(zip(known.keys.tolist(), known.ids.tolist(), strict=True))
    found = table(options["model_dir"])
    for raw, vector in zip(ids.tolist(), vectors, strict=True):
        if raw in new:
            np.testing.assert_allclose(found[new[raw]], vector, atol=1e-5)
    others = np.delete(found, [new[raw] for raw in ids.tolist() if raw in new], 0)
    assert np.abs(others).max() < 0.02

    np.savez(tmp_path / "items.npz", ids=ids, vectors=vectors + 100)
    training.train(Options(**options, **given, max_steps=2), STILL, {})
    np.testing.assert_allclose(table(options["model_dir"]), found, atol=1e-5)


def test_vectors_of_a_narrow_field_are_as_wide_as_the_field(tmp_path):
    fields = [dataclasses.replace(f, embedding_size=2 * (f.name == "item")) for f in SCHEMA.fields]
    schema = dataclasses.replace(SCHEMA, fields=tuple(fields))
    write_data_dir(str(tmp_path / "data"), schema, vocabulary_size=40, train=2, test=2)
    data = data_dir.load(str(tmp_path / "data"))
    for width in (2, 4):
        np.savez(tmp_path / f"{width}.npz", ids=data.vocabulary.keys[:2], vectors=np.ones((2, width)))
    found = pretrained.read([("item", str(tmp_path / "2.npz"))], data, STILL)
    np.testing.assert_array_equal(found.vectors, [[1, 1, 0, 0]] * 2)
    with pytest.raises(ValueError, match="have 4 numbers and the schema's embedding_size is 2; make that 4, or bring"):
        pretrained.read([("item", str(tmp_path / "4.npz"))], data, STILL)


@pytest.mark.parametrize(
    ("field", "arrays", "problem"),
    [
        ("nothing", {}, "allowed are fields of ids and words: user, history, tags, item"),
        ("item", {"ids": np.array([1])}, "an .npz file of ids and vectors is needed"),
        ("item", {"ids": np.array([1]), "vectors": np.zeros((2, 4))}, "a vector for each id is needed"),
        ("item", {"ids": np.array([1]), "vectors": np.zeros((1, 3))}, "have 3 numbers and --embedding_size is 4"),
        ("item", {"ids": np.array([1.5]), "vectors": np.zeros((1, 4))}, "ids are float64: whole numbers are needed"),
        ("item", {"ids": np.array([1, 2]), "vectors": np.array([[0] * 4, [0, 0, np.nan, 0]])}, "row 1 of vectors"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(field, arrays, problem, data, tmp_path):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(ValueError, match=f"--pretrained={field}:.*{problem}") as refused:
        pretrained.read([(field, str(tmp_path / "f.npz"))], data_dir.load(data), STILL)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_and_flags_that_contradict(data, tmp_path):
    (tmp_path / "f.npz").write_text("no")
    for path in ("f.npz", "absent.npz"):
        with pytest.raises(ValueError, match=r"an \.npz file of ids and vectors is needed"):
            pretrained.read([("item", str(tmp_path / path))], data_dir.load(data), STILL)
    with pytest.raises(ValueError, match=r"--pretrained=item: allowed is FIELD:FILE\.npz"):
        Options(data_dir=data, model_dir="m", pretrained="item")
    with pytest.raises(ValueError, match="a start without --warm_start_from"):
        Options(data_dir=data, model_dir="m", pretrained="item:f.npz", warm_start_from="other")
