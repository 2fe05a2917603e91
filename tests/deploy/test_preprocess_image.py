"""The worker image and the Flink example agree with the package, its versions and its flags; no Docker is needed."""

import pathlib
import re
import shlex

import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from preprocess import runner

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "preprocess"


@pytest.fixture(scope="module")
def instructions():
    """Instructions of the Dockerfile: name and argument."""
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, rest in lines]


@pytest.fixture(scope="module")
def documents():
    return list(yaml.safe_load_all((FOLDER / "flink.yaml").read_text()))


def arguments(instructions):
    return dict(rest.split("=") for name, rest in instructions if name == "ARG")


def test_the_image_has_the_versions_of_the_list(instructions):
    versions = arguments(instructions)
    short = versions["PYTHON"].replace(".", "")
    listed = (ROOT / "constraints" / f"py{short}.txt").read_text()
    assert re.search(r"^apache-beam==(\S+)", listed, re.M)[1] == versions["BEAM"]
    assert dict(instructions)["FROM"] == "apache/beam_python${PYTHON}_sdk:${BEAM}"
    assert any(f"-c constraints/py{short}.txt" in rest for name, rest in instructions if name == "RUN")


def test_the_image_gets_every_package(instructions):
    copied = {word for name, rest in instructions if name == "COPY" for word in rest.split()[:-1]}
    packages = re.search(r"^PACKAGES = \((.*?)\)", (ROOT / "setup.py").read_text(), re.M | re.S)[1]
    assert {"setup.py", *re.findall(r'"(\w+)"', packages)} <= copied
    assert all((ROOT / path).exists() for path in copied)


def test_extras_of_the_image_are_those_of_the_package(instructions):
    setup = (ROOT / "setup.py").read_text()
    (extras,) = (re.search(r"'\.\[(.*)\]'", rest)[1] for name, rest in instructions if name == "RUN")
    assert all(f'"{extra}":' in setup for extra in extras.split(","))


def test_the_example_asks_for_what_is_there(instructions, documents):
    deployment, job = documents
    version = deployment["spec"]["image"].split(":")[1].split("-")[0]
    assert version in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    assert deployment["spec"]["flinkVersion"] == "v" + version.replace(".", "_")
    (submit,) = job["spec"]["template"]["spec"]["containers"]
    (workers,) = deployment["spec"]["taskManager"]["podTemplate"]["spec"]["containers"][1:]
    built = re.search(r"-t (\S+)", (FOLDER / "Dockerfile").read_text())[1]
    package = re.search(r'version="(.*?)"', (ROOT / "setup.py").read_text())[1]
    assert submit["image"] == workers["image"] == built and built.endswith(f":{package}")
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in submit["args"])
    assert flags["flink_version"] == version
    assert flags["environment_config"] == f"localhost:{workers['ports'][0]['containerPort']}"
    slots = int(deployment["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"])
    assert int(flags["parallelism"]) == slots * deployment["spec"]["taskManager"]["replicas"]


def test_the_examples_options_are_beams(documents):
    args = shlex.split(" ".join(documents[1]["spec"]["template"]["spec"]["containers"][0]["args"]))
    ours = ("--input_dir", "--output_dir")
    runner._refuse_unknown([word for word in args if not word.startswith(ours)])
