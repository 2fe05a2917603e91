"""Job servers of Beam for Flink and Spark: their parts come by Maven, and one small jar names them all.

Beam has ready-made job servers, too; where only the runners' own jars can be had, this makes the same of them.
"""

import pathlib
import subprocess
import zipfile

HERE = pathlib.Path(__file__).parent
MAIN = {
    "flink": "org.apache.beam.runners.flink.FlinkJobServerDriver",
    "spark": "org.apache.beam.runners.spark.SparkJobServerDriver",
}
# What the engines reach into, from Java 17 on closed unless named.
OPENED = ("lang", "lang.invoke", "net", "nio", "util", "util.concurrent")


def jar(engine, cache):
    """The job server's jar, made in the cache folder unless it is there.

    Raises:
        subprocess.CalledProcessError: Maven cannot get the parts.
    """
    made = cache / f"{engine}-job-server.jar"
    if not made.exists():
        folder = cache / engine
        command = ["mvn", "-B", "-q", "-f", str(HERE / engine / "pom.xml")]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        _write(made, MAIN[engine], sorted(folder.glob("*.jar")))
    return made


def _write(path, main, parts):
    opened = " ".join([*(f"java.base/java.{name}" for name in OPENED), "java.base/sun.nio.ch"])
    lines = [
        "Manifest-Version: 1.0",
        f"Main-Class: {main}",
        f"Add-Opens: {opened}",
        f"Class-Path: {' '.join(part.resolve().as_uri() for part in parts)}",
    ]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("META-INF/MANIFEST.MF", "".join(map(_folded, lines)) + "\r\n")


def _folded(line):
    """A line of a manifest has 72 bytes at most; those that go on begin with a space."""
    parts = [line[:70], *(" " + line[start : start + 69] for start in range(70, len(line), 69))]
    return "".join(part + "\r\n" for part in parts)
