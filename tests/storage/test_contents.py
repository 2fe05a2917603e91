"""What is wrong with the contents of a file is said in a line with the file's name and a remedy."""

import pytest

from storage import contents


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "Expecting value"),
        (b"\x80\x81", "codec"),
        (b"[]", "no JSON object"),
        (b"{}", "it has no 'name'"),
        (b'{"name": null}', "NoneType"),
        (b'{"name": {"a": 1}}', ""),
    ],
)
def test_damage_names_the_file(tmp_path, data, what):
    path = tmp_path / "file.json"
    path.write_bytes(data)
    with (
        pytest.raises(contents.ContentsError, match=rf"{path}: damaged \(.*{what}.*\); make it again") as raised,
        contents.taken_apart(str(path), "make it again"),
    ):
        contents.read_object(str(path))["name"].append(1)
    assert "\n" not in str(raised.value)


def test_an_object_that_is_not_there_is_empty(tmp_path):
    assert contents.object_of(str(tmp_path / "none.json"), "") == {}
    (tmp_path / "some.json").write_text('{"a": 1}')
    assert contents.object_of(str(tmp_path / "some.json"), "") == {"a": 1}
