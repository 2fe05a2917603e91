"""Store servers, each a process of its own on a free port of this machine; where one is missing, its tests say so."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

HERE = pathlib.Path(__file__).parent
# A bucket, or a folder at the top.
TOP = "entire-space"
VERSITYGW = "v1.8.0"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secretsecret", "AWS_DEFAULT_REGION": "us-east-1"}


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.stores)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def served(arguments, url, log, **environment):
    """A server from its first answer, of any status, to its end."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(part) for part in arguments],
            stdout=output,
            stderr=output,
            env=os.environ | environment,
            cwd=log.parent,
        ) as process,
    ):
        try:
            _wait(process, url, log)
            yield
        finally:
            process.kill()


def _wait(process, url, log):
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"{url}: the server ended\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def moto(folder):
    """The S3 server of moto, in memory."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with served([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port], url, folder / "moto.log"):
        yield f"s3://{TOP}", {**KEYS, "AWS_ENDPOINT_URL": url}


@contextlib.contextmanager
def versitygw(folder):
    """The S3 gateway of Versity over a folder, as people deploy it."""
    pytest.importorskip("s3fs")
    program = os.environ.get("VERSITYGW") or shutil.which("versitygw") or _built_versitygw()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "objects").mkdir()
    keys = {"ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
    arguments = [program, "--port", f"127.0.0.1:{port}", "posix", folder / "objects"]
    with served(arguments, url, folder / "versitygw.log", **keys):
        yield f"s3://{TOP}", {**KEYS, "AWS_ENDPOINT_URL": url}


def _built_versitygw():
    """The gateway, built by Go once into a folder of the user's cache."""
    if not shutil.which("go"):
        pytest.skip("needs Go, or versitygw itself: VERSITYGW=PATH")
    program = _cache() / "bin" / "versitygw"
    if not program.exists():
        build = ["go", "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSITYGW}"]
        environment = os.environ | {"GOBIN": str(program.parent)}
        made = subprocess.run(build, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"Go could not build versitygw: {made.stderr[-300:]}")
    return program


def _cache():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"), "entire-space")


@contextlib.contextmanager
def hdfs(folder):
    """A name node and a data node of Hadoop in one Java process, met by WebHDFS."""
    pytest.importorskip("requests")
    libraries = _hadoop_libraries()
    port = free_port()
    cluster = "org.apache.hadoop.test.MiniDFSClusterManager"
    settings = ["-format", "-datanodes", "1", "-httpport", port, "-D", "dfs.permissions.enabled=false"]
    arguments = ["java", "-Xmx512m", "-cp", f"{libraries}/*", cluster, *settings]
    with served(arguments, f"http://127.0.0.1:{port}/webhdfs/v1/?op=LISTSTATUS", folder / "hdfs.log"):
        yield f"hdfs://localhost/{TOP}", {"WEBHDFS_PORT": str(port)}


def _hadoop_libraries():
    """Jars of Hadoop's mini-cluster; fetched by Maven once into a folder of the user's cache."""
    if not (shutil.which("java") and shutil.which("mvn")):
        pytest.skip("needs Java and Maven, for Hadoop's mini-cluster")
    folder = _cache() / "hadoop"
    if not list(folder.glob("hadoop-client-minicluster-*.jar")):
        copy = [
            "mvn",
            "-q",
            "-B",
            "-f",
            HERE / "pom.xml",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}",
        ]
        made = subprocess.run(copy, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"Maven could not fetch Hadoop's mini-cluster: {made.stdout[-300:]}")
    return folder


@pytest.fixture(scope="session", params=[moto, versitygw, hdfs], ids=lambda store: store.__name__)
def store(request, tmp_path_factory):
    """An empty folder of a store, and the environment that commands reach it with."""
    with request.param(tmp_path_factory.mktemp("store")) as (url, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        from storage import remote

        remote.forget()
        if url.startswith("s3://"):
            remote.filesystem(url).mkdir(TOP)
        yield url
