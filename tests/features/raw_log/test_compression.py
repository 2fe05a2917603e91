"""Half a compressed file never passes for a whole one: of CSV or Ali-CCP, for the job or a client."""

import bz2
import gzip
import io

import pyarrow as pa
import pytest

from features import names, raw_requests, schema_file
from features.raw_log import compression
from preprocess import command, file_steps
from preprocess.options import Options

SCHEMA = """
name: t
columns: {click: click, conversion: buy}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""
TEXT = ("user,item,click,buy\n" + "".join(f"{n % 7},{n},{n % 2},0\n" for n in range(3000))).encode()


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}


def unpacked(path, data):
    with compression.plain(io.BytesIO(data), path) as plain:
        return b"".join(iter(lambda: plain.read(1000), b""))


@pytest.mark.parametrize("suffix", PACKERS)
def test_whole_files_and_files_of_several_members_are_read(suffix):
    packed = PACKERS[suffix](TEXT)
    assert unpacked("x" + suffix, packed) == TEXT
    assert unpacked("x" + suffix, packed + PACKERS[suffix](b"more")) == TEXT + b"more"
    assert unpacked("x" + suffix, PACKERS[suffix](b"")) == b""


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_cut_is_an_error_that_names_the_file(suffix):
    packed = PACKERS[suffix](TEXT)
    for begin in (b"", packed):
        for size in [*range(0 if not begin else 1, 24), len(packed) // 2, *range(len(packed) - 9, len(packed))]:
            with pytest.raises(compression.DamagedFileError, match="folder/x" + suffix):
                unpacked("folder/x" + suffix, begin + packed[:size])


@pytest.mark.parametrize("suffix", PACKERS)
def test_damage_is_an_error(suffix):
    packed = bytearray(PACKERS[suffix](TEXT))
    for data in (packed[:-2] + b"\0\1", packed + b"junk at the end", TEXT, packed[: len(packed) // 2] + packed[-8:]):
        with pytest.raises(compression.DamagedFileError):
            unpacked("x" + suffix, bytes(data))


def run(folder, out, input_format, schema):
    options = Options(
        str(folder), str(out), input_format, schema, splits=("train", "test"), min_count=1, keep_useless=True
    )
    command.run(options, execute=file_steps.run_in_process)


@pytest.mark.parametrize("suffix", PACKERS)
def test_job_and_client_name_the_damaged_csv(tmp_path, suffix):
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    log = tmp_path / "log"
    log.mkdir()
    (log / "train.csv").write_bytes(TEXT)
    (log / f"test.csv{suffix}").write_bytes(PACKERS[suffix](TEXT)[:-5])
    with pytest.raises(OSError, match=rf"test\.csv\{suffix}: breaks off"):
        run(log, tmp_path / "out", names.CSV, str(tmp_path / "schema.yaml"))
    schema = schema_file.load(str(tmp_path / "schema.yaml"))
    with pytest.raises(OSError, match=rf"test\.csv\{suffix}: breaks off"):
        list(raw_requests.read(str(log), "test", schema, names.CSV))
    (log / f"test.csv{suffix}").write_bytes(PACKERS[suffix](TEXT))
    run(log, tmp_path / "out", names.CSV, str(tmp_path / "schema.yaml"))
    assert sum(len(r.sample_ids) for r in raw_requests.read(str(log), "test", schema, names.CSV)) == 3000


@pytest.mark.parametrize("side", ["skeleton", "common"])
def test_job_and_client_name_the_damaged_aliccp_file(tmp_path, side):
    skeleton = "".join(f"{n},0,0,k{n % 5},1,205\x02{n}\x031.0\n" for n in range(500)).encode()
    common = "".join(f"k{n},1,101\x02{n}\x031.0\n" for n in range(500)).encode()
    for split in names.SPLITS:
        (tmp_path / names.skeleton_file(split)).write_bytes(skeleton)
        (tmp_path / names.common_file(split)).write_bytes(common)
    name = names.skeleton_file("test") if side == "skeleton" else names.common_file("test")
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / (name + ".gz")).write_bytes(gzip.compress(data)[:-3])
    with pytest.raises(OSError, match=name + ".gz: breaks off"):
        run(tmp_path, tmp_path.parent / f"out-{side}", names.ALICCP, names.ALICCP)
    aliccp = schema_file.load(names.ALICCP)
    with pytest.raises(OSError, match=name + ".gz: breaks off"):
        list(raw_requests.read(str(tmp_path), "test", aliccp, names.ALICCP))
    (tmp_path / (name + ".gz")).write_bytes(gzip.compress(data[:200]) + gzip.compress(data[200:]))
    requests = list(raw_requests.read(str(tmp_path), "test", aliccp, names.ALICCP))
    assert len(requests) == 500 and requests[7].context["101"] == [2]
