"""A simulated log read in the plainest way, for tests."""

import dataclasses
import functools
import json
import os

from features import names
from features.names import FEATURE_SEPARATOR, FIELD_SEPARATOR, VALUE_SEPARATOR


@dataclasses.dataclass
class Log:
    """A log in a folder, read in the plainest way."""

    directory: str

    def data(self, name):
        with open(os.path.join(self.directory, name), "rb") as file:
            return file.read()

    def json(self, name):
        return json.loads(self.data(name))

    @functools.cache  # noqa: B019 (lives as long as the tests)
    def impressions(self, split):
        """(sample id, click, conversion, context key, features) of each row."""
        rows = [line.split(",") for line in self.data(names.skeleton_file(split)).decode().splitlines()]
        return [(int(a), int(b), int(c), key, features(text, number)) for a, b, c, key, number, text in rows]

    @functools.cache  # noqa: B019
    def contexts(self, split):
        """Features by context key."""
        rows = [line.split(",") for line in self.data(names.common_file(split)).decode().splitlines()]
        return {key: features(text, number) for key, number, text in rows}

    @functools.cache  # noqa: B019
    def truth(self, split):
        """(p_click, p_conversion, conversion if clicked) by sample id."""
        rows = [line.split(",") for line in self.data(names.truth_file(split)).decode().splitlines()[1:]]
        return {int(a): (float(b), float(c), int(d)) for a, b, c, d in rows}

    def __hash__(self):
        return hash(self.directory)


def features(text, number):
    """Pairs of id and value by field."""
    found = {}
    parts = text.split(FEATURE_SEPARATOR)
    assert len(parts) == int(number)
    for part in parts:
        field, rest = part.split(FIELD_SEPARATOR)
        feature_id, value = rest.split(VALUE_SEPARATOR)
        found.setdefault(field, []).append((int(feature_id), value))
    return found
