"""Every line belongs to exactly one block, wherever blocks are cut."""

import gzip

import pytest

from preprocess.read import lines

TEXTS = [b"", b"\n", b"a\nbb\n\nccc\n", b"no end", b"header\nrow\r\nlast", b"\n\n\n", b"x" * 200_000 + b"\ny\n"]


def blocks(path, data, size):
    return [lines.read_block(path, start, min(start + size, len(data))) for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("data", TEXTS)
def test_blocks_cover_the_file(tmp_path, data, size):
    if len(data) / size > 1000:
        pytest.skip("too many blocks")
    path = tmp_path / "file"
    path.write_bytes(data)
    found = [
        (offset, block.line(i)) for block in blocks(str(path), data, size) for i, offset in enumerate(block.offsets())
    ]
    wanted, place = [], 0
    for line in data.splitlines(keepends=True) if b"\r" not in data else data.split(b"\n"):
        text = line if line.endswith(b"\n") else line + b"\n"
        wanted.append((place, text))
        place += len(text)
    assert found == wanted


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("data", TEXTS[:6])
def test_a_compressed_file_gives_the_same_lines(tmp_path, data, size):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(data))
    pieces = list(lines.stream(str(path), size))
    whole = lines.split(data, 0)
    assert [(o, p.line(i)) for p in pieces for i, o in enumerate(p.offsets())] == [
        (o, whole.line(i)) for i, o in enumerate(whole.offsets())
    ]
