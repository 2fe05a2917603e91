"""Job servers of Beam for Flink and Spark: their parts come by Maven, and one small jar names them all.

python tools/engines/job_servers.py flink|spark [FOLDER]      prints the path of the jar, for --flink_job_server_jar

Beam has ready-made job servers, too, and fetches them by itself; where only the runners' own jars can be had, this
makes the same of them.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).parent
CACHE = HERE.parent.parent / ".engines"
MAIN = {
    "flink": "org.apache.beam.runners.flink.FlinkJobServerDriver",
    "spark": "org.apache.beam.runners.spark.SparkJobServerDriver",
}
# What the engines reach into, from Java 17 on closed unless named.
OPENED = (
    *(f"java.base/java.{name}" for name in ("io", "lang", "lang.invoke", "lang.reflect", "net", "nio", "text", "time")),
    *(f"java.base/java.util{name}" for name in ("", ".concurrent", ".concurrent.atomic", ".concurrent.locks")),
    *("java.base/sun.nio.ch", "java.base/sun.nio.cs", "java.base/sun.security.action", "java.base/sun.util.calendar"),
)


def jar(engine: str, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """The job server's jar, made in the cache folder unless it is there.

    Raises:
        subprocess.CalledProcessError: Maven cannot get the parts.
    """
    made = cache / f"{engine}-job-server.jar"
    if not made.exists():
        folder = parts_folder(engine, cache)
        command = ["mvn", "-B", "-q", "-f", str(HERE / engine / "pom.xml")]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        _write(made, MAIN[engine], sorted(folder.glob("*.jar")))
    return made


def parts_folder(engine: str, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """Where the parts of a job server are, the engine itself among them."""
    return (cache / engine).resolve()


def _write(path: pathlib.Path, main: str, parts: list[pathlib.Path]) -> None:
    lines = [
        "Manifest-Version: 1.0",
        f"Main-Class: {main}",
        f"Add-Opens: {' '.join(OPENED)}",
        f"Class-Path: {' '.join(part.resolve().as_uri() for part in parts)}",
    ]
    unfinished = path.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w") as file:
        file.writestr("META-INF/MANIFEST.MF", "".join(map(_folded, lines)) + "\r\n")
    unfinished.replace(path)


def _folded(line: str) -> str:
    """A line of a manifest has 72 bytes at most; those that go on begin with a space."""
    parts = [line[:70], *(" " + line[start : start + 69] for start in range(70, len(line), 69))]
    return "".join(part + "\r\n" for part in parts)


if __name__ == "__main__":
    try:
        print(jar(sys.argv[1], *map(pathlib.Path, sys.argv[2:])))
    except subprocess.CalledProcessError as error:
        sys.exit(f"job_servers: Maven cannot get the parts for {sys.argv[1]}:\n{error.stdout.strip()[-500:]}")
