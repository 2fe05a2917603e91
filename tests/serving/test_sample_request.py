"""The request that travels in an export: nobody's by default."""

import pytest
from record_examples import small_schema
from served_model_examples import mixed_schema, random_raw_requests

from features import names, raw_requests
from features.raw_requests import RawRequest
from serving import sample_request
from serving.export_options import LOGGED, SYNTHETIC

SCHEMA = mixed_schema()


def saved(folder, requests):
    (folder / names.SAMPLE_REQUESTS_FILE).write_text(raw_requests.to_json(requests), encoding="utf-8")
    return str(folder)


def request_of(user, history, items):
    """A request of `small_schema`."""
    one = [[] for _ in items]
    context = {"user": [user], "history": history, "history/weight": [1.0] * len(history), "tags": []}
    impressions = {"item": [[item] for item in items]}
    for key in ("intents", "match", "match/weight", "matches", "matches/weight", "place"):
        impressions[key] = one
    return RawRequest(list(range(len(items))), context, impressions)


def test_it_is_made_of_frequent_values_at_their_mean_length():
    requests = [request_of(1, [7, 8, 9], [4, 5]), request_of(2, [7, 8], [4]), request_of(3, [7, 6, 10, 11], [4, 6, 5])]
    made = sample_request.synthetic(requests, small_schema())
    # A user's id, and what one history alone has, are not in it.
    assert made.context == {"user": [], "history": [7, 8, 7], "history/weight": [1.0] * 3, "tags": []}
    assert made.impressions["item"] == [[4], [5], [6]]
    assert made.impressions["place"] == [[], [], []]
    assert made.sample_ids == [0, 1, 2]


def test_no_context_of_the_log_is_in_it(tmp_path):
    requests = random_raw_requests(SCHEMA, 8)
    folder = saved(tmp_path, requests)
    made = sample_request.choose(folder, SCHEMA, SYNTHETIC)
    assert made not in requests and made.context not in [request.context for request in requests]
    assert made.context["history"] and made.impressions["item"][0]
    largest = max(len(request.sample_ids) for request in requests)
    assert len(made.sample_ids) == largest
    assert sample_request.choose(folder, SCHEMA, LOGGED) in requests


@pytest.mark.parametrize("kind", [SYNTHETIC, LOGGED])
def test_without_saved_requests_values_are_missing(tmp_path, kind):
    nothing = sample_request.without_values(SCHEMA)
    assert sample_request.choose(str(tmp_path), SCHEMA, kind) == nothing
    assert sample_request.choose(saved(tmp_path, []), SCHEMA, kind) == nothing
    assert len(nothing.sample_ids) == 1 and not any(nothing.context.values())
    assert all(rows == [[]] for rows in nothing.impressions.values())
