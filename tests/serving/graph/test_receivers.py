"""What a call may look like, and what is said of one that may not."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from record_examples import small_schema
from served_model_examples import Served, make_trained

from features import names
from features.vocabulary import Vocabulary
from serving import columnar, sample_request, warm_up
from serving.graph import receivers

SCHEMA = small_schema()
KNOWN, UNKNOWN = [1000, 1001, 1002, 1003, 1004], 5
# One request of two candidates.
COLUMNS = {
    "user": [1000],
    "history": [1001, 1002],
    "history/weight": [0.5, 2.0],
    "tags": [1003],
    "item": [[1000], [1001]],
    "intents": [[1002, 1003], [1004, -1]],
    "match": [[1000], [1003]],
    "match/weight": [[1.5], [0.5]],
    "matches": [[1001, 1002], [1003, -1]],
    "matches/weight": [[1.0, 2.0], [0.5, 0.0]],
    "place": [[1001], [1002]],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keys = np.array(KNOWN)
    vocabulary = Vocabulary(SCHEMA, keys, np.arange(len(keys), dtype=np.int32) + SCHEMA.reserved_ids)
    folder = tmp_path_factory.mktemp("receivers")
    return Served(make_trained(str(folder / "trained"), vocabulary).export(str(folder / "export")), SCHEMA)


@pytest.fixture(scope="module")
def expected(served):
    return served.shared_context(COLUMNS)


def changed(**changes):
    return COLUMNS | {key.replace("__", "/"): value for key, value in changes.items()}


def check_equal(found, expected):
    for name in names.SCORES:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def check_differs(found, expected):
    assert np.abs(found[names.PCTR] - expected[names.PCTR]).max() > 1e-4


@pytest.mark.parametrize(
    "same",
    [
        changed(history=[-1, 1001, 1002], history__weight=[9.0, 0.5, 2.0]),
        changed(history=[1001, -1, 1002, -1], history__weight=[0.5, np.nan, 2.0, -3.0]),
        changed(history=[1001, UNKNOWN, 1002], history__weight=[0.5, 9.0, 2.0]),
        changed(history=[1001, UNKNOWN, 1002], history__weight=[0.5, np.nan, 2.0]),
        changed(item=[1000, 1001]),
        changed(match=[1000, 1003], match__weight=[1.5, 0.5]),
        changed(intents=[[-1, 1002, 1003, -1], [1004, -1, -1, UNKNOWN]]),
        changed(history=[1002, 1001], history__weight=[2.0, 0.5]),
    ],
)
def test_the_same_call_in_other_words(served, expected, same):
    check_equal(served.shared_context(same), expected)


@pytest.mark.parametrize(
    ("missing", "padded"),
    [
        (changed(user=[]), changed(user=[-1])),
        (changed(item=[]), changed(item=[[-1], [-1]])),
        (changed(item=[[], []]), changed(item=[[-1], [-1]])),
        (changed(intents=[]), changed(intents=[[-1, -1], [-1, -1]])),
        (changed(history=[], history__weight=[]), changed(history=[UNKNOWN], history__weight=[7.0])),
        (changed(history=[], history__weight=[]), changed(history=[-1, -1], history__weight=[7.0, 8.0])),
        (changed(matches=[], matches__weight=[]), changed(matches=[[UNKNOWN], [-7]], matches__weight=[[3.0], [4.0]])),
        (changed(match__weight=[]), changed(match__weight=[[1.0], [1.0]])),
    ],
)
def test_what_is_missing(served, expected, missing, padded):
    found = served.shared_context(missing)
    check_equal(found, served.shared_context(padded))
    check_differs(found, expected)


def test_a_negative_id_is_unknown_and_not_missing(served):
    negative, unknown, missing = (served.shared_context(changed(user=[user])) for user in (-2, UNKNOWN, -1))
    check_equal(negative, unknown)
    check_differs(unknown, missing)


def test_no_candidates_no_scores(served):
    for columns in ({}, {key: COLUMNS[key] for key in ("user", "history", "history/weight")}):
        found = served.shared_context(columns)
        assert {name: scores.tolist() for name, scores in found.items()} == {name: [] for name in names.SCORES}


def test_a_candidate_is_scored_alike_in_any_company(served, expected):
    columns = {key: value if key in ("user", "tags") else value[::-1] for key, value in COLUMNS.items()}
    found = served.shared_context(columns)
    for name in names.SCORES:
        np.testing.assert_allclose(found[name][::-1], expected[name], atol=1e-6)
    many = {k: v * 50 if k in ("item", "intents", "place") or k.startswith("match") else v for k, v in COLUMNS.items()}
    for name, scores in served.shared_context(many).items():
        np.testing.assert_allclose(scores, np.tile(expected[name], 50), atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(place=[[1001], [1002], [1003]]), ["same number of rows", "[item intents match matches]"]),
        (changed(place=[[1001]]), ["same number of rows", "[place]"]),
        (changed(place=[[]]), ["same number of rows", "[place]"]),
        (changed(user=[[1000]]), ["context field needs a list", "[user]"]),
        (changed(user=1000), ["context field needs a list", "[user]"]),
        (changed(user=[1000, -1]), ["takes one value", "[user]"]),
        (changed(user=[1000, 1001]), ["takes one value", "[user]"]),
        (changed(item=[[1000, 1001], [1002, -1]]), ["takes one value", "[item]"]),
        (changed(intents=[1002, 1004]), ["list of lists", "[intents]"]),
        (changed(item=[[[1000]], [[1001]]]), ["list of lists", "[item]"]),
        (changed(item=1000), ["list of lists", "[item]"]),
        (changed(history__weight=[1.0]), ["shape of their field", "[history/weight]"]),
        (changed(history__weight=[1.0, 2.0, 3.0]), ["shape of their field", "[history/weight]"]),
        (changed(history=[], history__weight=[1.0]), ["shape of their field", "[history/weight]"]),
        (changed(matches__weight=[[1.0], [1.0]]), ["shape of their field", "[matches/weight]"]),
        (changed(matches__weight=[[1.0, 1.0, 1.0, 1.0]]), ["shape of their field", "[matches/weight]"]),
        (changed(history__weight=[1.0, -0.5]), ["at least 0", "[history/weight]"]),
        (changed(history__weight=[1.0, np.nan]), ["at least 0", "[history/weight]"]),
        (changed(match__weight=[[np.inf], [1.0]]), ["at least 0", "[match/weight]"]),
    ],
)
def test_what_cannot_be_a_call_is_refused_by_name(served, wrong, words):
    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        served.shared_context(wrong)
    for word in ["assertion failed", *words]:
        assert word in str(refused.value)


def test_the_next_call_is_answered(served, expected):
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.shared_context(changed(user=1))
    check_equal(served.shared_context(COLUMNS), expected)


def example(**features):
    made = tf.train.Example()
    for key, values in features.items():
        target = made.features.feature[key.replace("__", "/")]
        if key.endswith("__weight"):
            target.float_list.value.extend(values)
        else:
            target.int64_list.value.extend(values)
    return made.SerializeToString()


CONTEXT = {"user": [1000], "history": [1001, 1002], "history__weight": [0.5, 2.0], "tags": [1003]}
FIRST = {"item": [1000], "intents": [1002, 1003], "match": [1000], "match__weight": [1.5], "place": [1001]}
SECOND = {"item": [1001], "intents": [1004], "match": [1003], "match__weight": [0.5], "place": [1002]}
FIRST_MATCHES = {"matches": [1001, 1002], "matches__weight": [1.0, 2.0]}
SECOND_MATCHES = {"matches": [1003], "matches__weight": [0.5]}


def test_examples_are_impressions(served, expected):
    first, second = example(**CONTEXT, **FIRST, **FIRST_MATCHES), example(**CONTEXT, **SECOND, **SECOND_MATCHES)
    check_equal(served.examples([first, second]), expected)
    check_equal(served.classification([first, second]), expected)


def test_context_and_example_may_be_messages_one_behind_the_other(served, expected):
    first, second = example(**CONTEXT) + example(**FIRST, **FIRST_MATCHES), example(**SECOND, **SECOND_MATCHES)
    check_equal(served.classification([first, second + example(**CONTEXT)]), expected)


def test_weights_that_some_examples_lack_are_1(served):
    weighted = example(**CONTEXT, **FIRST, **FIRST_MATCHES)
    without = example(**CONTEXT, **FIRST, matches=[1001, 1002])
    ones = example(**CONTEXT, **FIRST, matches=[1001, 1002], matches__weight=[1.0, 1.0])
    nothing = example(**CONTEXT, **FIRST)
    found = served.examples([without, weighted, nothing, without, weighted])
    alone = [served.examples([one])[names.PCTR][0] for one in (ones, weighted, nothing, ones, weighted)]
    np.testing.assert_allclose(found[names.PCTR], alone, atol=1e-6)
    assert len(set(alone)) == 3


def test_an_example_of_nothing_is_missing_values(served):
    found = served.examples([b"", example(user=[-1], history=[-1])])
    check_equal(found, served.shared_context({"item": [-1, -1]}))


@pytest.mark.parametrize(
    ("features", "word"),
    [
        ({"history": [1001, 1002], "history__weight": [1.0]}, "history/weight"),
        ({"history__weight": [1.0]}, "history/weight"),
        ({"matches": [1001], "matches__weight": [-1.0]}, "matches/weight"),
        ({"user": [1000, 1001]}, "user"),
    ],
)
def test_examples_that_cannot_be_are_refused_by_name(served, features, word):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[{word}\]"):
        served.examples([example(**CONTEXT), example(**features)])


# Calls that a server with --enable_batching would merge: equal first dimensions in all inputs.


def mergeable(columns):
    return len({np.shape(value)[:1] for value in columns.values()}) == 1


def merged(*calls):
    return {key: [row for call in calls for row in call[key]] for key in calls[0]}


def test_merged_calls_of_a_context_with_one_value_are_refused_and_never_scored(served):
    """One candidate, and one value in each list."""
    columns = {key: value[:1] for key, value in COLUMNS.items()}
    assert mergeable(columns) and len(served.shared_context(columns)[names.PCTR]) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"takes one value; more in:.*\[user\]"):
        served.shared_context(merged(columns, changed(**columns) | {"user": [1001]}))


@pytest.fixture(scope="module")
def served_lists(tmp_path_factory):
    """A model whose context has lists alone: no value in a call says that there is one context."""
    fields = tuple(field for field in SCHEMA.fields if field.is_many or not field.is_context)
    schema = dataclasses.replace(SCHEMA, fields=fields)
    vocabulary = Vocabulary(schema, np.array(KNOWN), np.arange(len(KNOWN), dtype=np.int32) + schema.reserved_ids)
    folder = tmp_path_factory.mktemp("lists")
    return Served(make_trained(str(folder / "trained"), vocabulary).export(str(folder / "export")), schema)


def test_calls_of_a_context_of_lists_can_never_be_merged(served_lists):
    columns = {key: value for key, value in COLUMNS.items() if key != "user"} | {"tags": [1003, 1004]}
    assert mergeable(columns)
    # As the client makes it: the input that makes first dimensions differ is there, and must be empty.
    inputs = served_lists.signatures["serving_default"].structured_input_signature[1]
    assert inputs.keys() == columns.keys() | {columnar.UNMERGEABLE}
    assert not mergeable(columns | {columnar.UNMERGEABLE: []})
    assert len(served_lists.shared_context(columns | {columnar.UNMERGEABLE: []})[names.PCTR]) == 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="no server merges calls"):
        served_lists.shared_context(columns | {columnar.UNMERGEABLE: [1, 1]})


def test_the_client_and_the_warm_up_send_the_input_that_is_never_merged():
    schema = dataclasses.replace(SCHEMA, fields=tuple(f for f in SCHEMA.fields if f.is_many or not f.is_context))
    request = sample_request.without_values(schema)
    assert columnar.columnar_inputs(request, schema)[columnar.UNMERGEABLE] == []
    assert warm_up.shared_context_tensors(request, schema).keys() == receivers.shared_context_dtypes(schema).keys()
    assert columnar.UNMERGEABLE not in columnar.columnar_inputs(sample_request.without_values(SCHEMA), SCHEMA)
