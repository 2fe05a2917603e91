"""The job, the client and plain Python agree on random tables; `make test-tables` draws a hundred thousand."""

import pytest
import random_tables


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_three_readers_agree(tmp_path, first):
    for seed in range(first, first + 40):
        random_tables.check(seed, str(tmp_path))


@pytest.mark.parametrize("seed", [1025052, 2012379, 3023001])
def test_tables_that_once_differed(tmp_path, seed):
    """Lines of carriage returns alone are blank lines."""
    random_tables.check(seed, str(tmp_path))
