"""Engines that run here, each with worker processes of its own; where Java or a jar is missing, the tests say so."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools" / "engines"))

import job_servers  # noqa: E402 its folder is no package


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="session")
def cache():
    """Where the jars are kept."""
    if not (shutil.which("java") and shutil.which("mvn")):
        pytest.skip("needs Java 11 or 17 and Maven")
    return pathlib.Path(os.environ.get("ENGINES_CACHE", job_servers.CACHE))


@pytest.fixture(scope="session")
def job_server(cache):
    """Gives the path of an engine's job server."""

    def path(engine):
        try:
            return job_servers.jar(engine, cache)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"Maven cannot get {engine}'s jars: {error.stdout[-300:]}")

    return path
