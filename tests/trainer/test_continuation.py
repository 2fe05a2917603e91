"""A model that goes on: every tensor carried, the table's by key, whatever the two vocabularies have in common."""

import dataclasses
import os
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from record_examples import small_schema, write_data_dir

from features import names
from features.vocabulary import Vocabulary
from model_fn.hyperparameters import Hyperparameters
from trainer import checkpoint_rows, continuation, progressive, training, translation
from trainer.options import Options
from trainer.translation import Translator

pytestmark = pytest.mark.commands

SCHEMA = small_schema()
RESERVED = SCHEMA.reserved_ids
SMALL = Hyperparameters(deep_layers=(8,), embedding_size=4, batch_norm=True, initial_accumulator=0.1)
TABLE = "embedding_table"


def vocabulary(keys, seed, unused=0):
    """Keys with ids in another order, some ids left unused."""
    ids = np.random.default_rng(seed).permutation(len(keys) + unused)[: len(keys)] + RESERVED
    return Vocabulary(SCHEMA, np.array(keys, np.int64), ids.astype(np.int32), unused_ids=unused)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Two data folders whose vocabularies share half of their keys."""
    folder = tmp_path_factory.mktemp("days")
    for day, (first, unused) in enumerate([(1000, 3), (1092, 5)]):
        path = str(folder / f"day{day}")
        write_data_dir(path, SCHEMA, 200, train=40, test=20, seed=day)
        tf.io.gfile.rmtree(names.vocabulary_dir(path))
        keys = range(first, first + 200 - RESERVED - unused)
        vocabulary(keys, day, unused).save(names.vocabulary_dir(path))
    return str(folder / "day0"), str(folder / "day1")


def train(data, model, settings=SMALL, given=None, **changes):
    how = {"batch_size": 32, "num_threads": 1, "log_steps": 5} | changes
    training.train(Options(data_dir=data, model_dir=str(model), **how), settings, given or {})


def tensors(checkpoint):
    reader = tf.train.load_checkpoint(checkpoint)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def first_and_last(folder):
    return tensors(os.path.join(folder, "model.ckpt-0")), tensors(tf.train.latest_checkpoint(str(folder)))


@pytest.mark.parametrize(("table", "dense"), [("LazyAdam", "Adam"), ("Adagrad", "Ftrl")])
def test_everything_is_carried_and_rows_follow_their_keys(days, tmp_path, table, dense):
    settings = dataclasses.replace(SMALL, embedding_optimizer=table, optimizer=dense)
    train(days[0], tmp_path / "m1", settings)
    train(days[1], tmp_path / "m2", continue_from=str(tmp_path / "m1"), max_steps=1)
    old, (new, _) = tensors(str(tmp_path / "m1")), first_and_last(tmp_path / "m2")
    before, after = (_known(day) for day in days)
    shared = np.intersect1d(before.keys, after.keys)
    there, here = before.lookup(shared), after.lookup(shared)
    added = after.lookup(np.setdiff1d(after.keys, before.keys))
    assert len(shared) and len(added)
    of_table = [name for name in new if TABLE in name.split("/")]
    (weights,) = (name for name in of_table if name.endswith(TABLE))
    assert len(of_table) >= 2 and old.keys() == new.keys()
    for name in of_table:
        np.testing.assert_array_equal(new[name][:RESERVED], old[name][:RESERVED], name)
        np.testing.assert_array_equal(new[name][here], old[name][there], name)
    assert not new[weights][translation.unused_ids(after)].any()
    assert np.abs(new[weights][added]).max() <= settings.embedding_range and new[weights][added].std() > 0
    for name in set(of_table) - {weights}:
        assert len(np.unique(new[name][added])) == 1, name
    for name in new.keys() - set(of_table):
        if name != "global_step" and not name.startswith("input/"):
            np.testing.assert_array_equal(new[name], old[name], name)
    assert new["global_step"] == 0 and new["input/position_0"].tolist() == [0, 0]


def _known(folder):
    from features import vocabulary as module

    return module.load(names.vocabulary_dir(folder))


@pytest.fixture(scope="module")
def first(days, tmp_path_factory):
    """A model of the first day whose optimizers are Adagrad; tests must not change it."""
    folder = tmp_path_factory.mktemp("first") / "m1"
    train(days[0], folder, dataclasses.replace(SMALL, embedding_optimizer="Adagrad", optimizer="Adagrad"))
    return str(folder)


def test_settings_are_the_old_ones_but_those_that_are_named(first):
    found = continuation.settings(first, {"learning_rate": 0.5})
    assert found.learning_rate == 0.5 and found.deep_layers == (8,) and found.optimizer == "Adagrad"


def test_a_day_after_the_other(days, first, tmp_path):
    """Accumulators decay, not below their start; a line a day; started again, it goes on with its own checkpoint."""
    how = {"continue_from": first, "accumulator_decay": 0.5, "validate_first": True}
    train(days[1], tmp_path / "m2", max_steps=2, **how)
    old, (new, _) = tensors(first), first_and_last(tmp_path / "m2")
    decayed = [name for name in new if name.split("/")[-1].startswith("Adagrad") and TABLE not in name]
    assert decayed
    for name in decayed:
        np.testing.assert_allclose(new[name], np.maximum(old[name] * 0.5, 0.1), rtol=1e-6)
    text = (tmp_path / "m2" / "progressive.json").read_text()
    train(days[1], tmp_path / "m2", max_steps=4, **how)
    assert tensors(str(tmp_path / "m2"))["global_step"] == 4
    assert (tmp_path / "m2" / "progressive.json").read_text() == text
    (line,) = progressive.read(str(tmp_path / "m2"))
    assert line["data"].endswith("/day1") and line["model"].endswith("/m1")
    assert 0 < line["ctr_logloss"] < 2 and line["impressions"] > 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"continue_from": "nowhere"}, "--continue_from=nowhere: no model there"),
        ({"accumulator_decay": 0.5}, "--accumulator_decay=0.5: allowed is with --continue_from only"),
        ({"continue_from": "m", "warm_start_from": "n"}, "--continue_from=m: allowed is one of"),
    ],
)
def test_mistakes_are_named(days, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        train(days[0], tmp_path / "m", **wrong)


def test_a_translated_batch_is_what_the_job_writes_with_the_models_vocabulary():
    records, model = vocabulary(range(100, 110), 1), vocabulary(range(104, 120), 2)
    there = {int(key): int(i) for key, i in zip(model.keys, model.ids, strict=True)}
    here = {int(key): int(i) for key, i in zip(records.keys, records.ids, strict=True)}
    many = SCHEMA.by_name["history"]
    features = {
        "user": tf.constant([here[103], here[105], SCHEMA.missing_id(SCHEMA.by_name["user"])], tf.int64),
        "history": tf.ragged.constant([[here[103], here[104]], [here[100]], [here[109]]], dtype=tf.int64),
        "history/weight": tf.ragged.constant([[1.5, 2.5], [3.5], [4.5]], dtype=tf.float32),
        "intents": tf.ragged.constant([[[here[101], here[106]], [here[102]]], [[here[107]]]], dtype=tf.int64),
    }
    schema = dataclasses.replace(
        SCHEMA, fields=tuple(field for field in SCHEMA.fields if field.name in ("user", "history", "intents"))
    )
    translator = Translator(records, model)
    found = {}
    for name in ("user", "history", "intents"):
        found |= translator._field(schema.by_name[name], features)
    user = SCHEMA.by_name["user"]
    assert found["user"].numpy().tolist() == [SCHEMA.oov_id(user), there[105], SCHEMA.missing_id(user)]
    assert found["history"].to_list() == [[there[104]], [SCHEMA.missing_id(many)], [there[109]]]
    assert found["history/weight"].to_list() == [[2.5], [1.0], [4.5]]
    missing = SCHEMA.missing_id(SCHEMA.by_name["intents"])
    assert found["intents"].to_list() == [[[there[106]], [missing]], [[there[107]]]]


def test_rows_of_a_checkpoint_are_what_tensorflow_reads(first, monkeypatch):
    monkeypatch.setattr(checkpoint_rows, "_BLOCK_BYTES", 100)
    checkpoint = tf.train.latest_checkpoint(first)
    wanted, found = tensors(checkpoint), checkpoint_rows.tensors(checkpoint)
    assert wanted.keys() == found.keys()
    for name, rows in found.items():
        np.testing.assert_array_equal(rows.whole(), wanted[name])
        if rows.shape:
            starts, blocks = zip(*rows.blocks(), strict=True)
            np.testing.assert_array_equal(np.concatenate(blocks), wanted[name])
            assert starts[0] == 0


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    (tmp_path / "model.ckpt-1.index").write_bytes(damage)
    with pytest.raises(checkpoint_rows.CheckpointError, match=r"model\.ckpt-1\.index"):
        checkpoint_rows.tensors(str(tmp_path / "model.ckpt-1"))


def test_a_changed_byte_of_a_checkpoint_is_noticed(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("a", initializer=np.arange(50, dtype=np.float32), use_resource=True)
        session.run(variable.initializer)
        path = tf.compat.v1.train.Saver([variable]).save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    for file in (tmp_path / "model.ckpt.index", tmp_path / "model.ckpt.data-00000-of-00001"):
        whole, noticed = file.read_bytes(), []
        for place in range(0, len(whole), 7):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            try:
                np.testing.assert_array_equal(checkpoint_rows.tensors(path)["a"].whole(), np.arange(50))
            except checkpoint_rows.CheckpointError as error:
                assert file.name in str(error)
                noticed.append(file.name)
        file.write_bytes(whole)
        # The index has an empty block and padding, which nobody reads.
        read = len(whole) if ".data-" in file.name else len(whole) - 60
        assert len(noticed) >= read // 7
    assert len(checkpoint_rows.tensors(path)) == 1


def test_carrying_a_table_takes_a_block_of_memory(tmp_path):
    """Beside the new table: NumPy's and Python's part of it; TensorFlow's is the variable itself."""
    rows, width = 400_000, 16
    keys = np.arange(rows - RESERVED)
    old, new = vocabulary(keys, 1), vocabulary(keys + 1000, 2)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable(TABLE, [rows, width], use_resource=True)
        session.run(variable.initializer)
        path = tf.compat.v1.train.Saver([variable]).save(session, str(tmp_path / "model.ckpt"), global_step=1)
        before = continuation.Predecessor(str(tmp_path), path, old, SMALL)
        carrier = continuation._Carrier(session, before, new, 1.0, 0.1)
        tracemalloc.start()
        carrier.carry({TABLE: variable})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.2 * rows * width * 4 + 6 * checkpoint_rows._BLOCK_BYTES
