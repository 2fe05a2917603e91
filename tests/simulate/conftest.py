"""Logs that several tests look at, made once per worker."""

import pytest
from raw_log import Log

from simulate.options import Options
from simulate.simulation import simulate

OPTIONS = Options(requests=600, test_requests=200, seed=5)


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """A log of full width."""
    directory = str(tmp_path_factory.mktemp("simulated") / "log")
    simulate(OPTIONS, directory)
    return Log(directory)


@pytest.fixture
def make_log(tmp_path):
    """Makes further logs."""

    def make(options, name="log", **keywords):
        simulate(options, str(tmp_path / name), **keywords)
        return Log(str(tmp_path / name))

    return make
