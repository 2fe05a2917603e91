"""The job, the client and plain Python agree on random tables; `make test-tables` draws a hundred thousand."""

import pytest
import random_tables


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_three_readers_agree(tmp_path, first):
    for seed in range(first, first + 40):
        random_tables.check(seed, str(tmp_path))
