import json

import numpy as np
import pytest
from record_examples import small_schema

from features import names, schema_file, vocabulary
from features.schema import Columns, Field, Schema


def small_vocabulary():
    return vocabulary.Vocabulary(
        small_schema(),
        np.array([-5, 3, 9, 2**62], np.int64),
        np.array([17, 16, 19, 18], np.int32),
        statistics={"min_count": 20},
    )


def test_round_trip(tmp_path):
    saved = small_vocabulary()
    saved.save(str(tmp_path / "v"))
    loaded = vocabulary.load(str(tmp_path / "v"))
    assert loaded.schema == saved.schema
    assert loaded.size == 20
    assert loaded.statistics == {"min_count": 20}
    assert isinstance(loaded.keys, np.memmap)
    np.testing.assert_array_equal(loaded.keys, saved.keys)
    np.testing.assert_array_equal(loaded.ids, saved.ids)
    described = json.loads((tmp_path / "v" / names.VOCABULARY_FILE).read_text())
    assert described["fields"]["history"] == {"missing_id": 2, "oov_id": 3}


def test_lookup_finds_what_is_there_and_nothing_else():
    found = small_vocabulary().lookup(np.array([3, -6, -5, 2**62, 2**62 + 1, 4, 9]))
    assert found.tolist() == [16, -1, 17, 18, -1, -1, 19]


def test_an_empty_vocabulary_knows_nothing(tmp_path):
    vocabulary.Vocabulary(small_schema(), np.empty(0, np.int64), np.empty(0, np.int32)).save(str(tmp_path / "v"))
    loaded = vocabulary.load(str(tmp_path / "v"))
    assert loaded.size == small_schema().reserved_ids
    assert loaded.lookup(np.array([1, 2])).tolist() == [-1, -1]


def test_remote_folders_are_read_through_a_function(tmp_path):
    small_vocabulary().save(str(tmp_path / "v"))

    def read(path):
        assert path.startswith("s3://bucket/v/")
        return (tmp_path / "v" / path.removeprefix("s3://bucket/v/")).read_bytes()

    assert vocabulary.load("s3://bucket/v", read).lookup(np.array([9])).tolist() == [19]


def test_damage_is_reported_with_the_file(tmp_path):
    folder = tmp_path / "v"
    small_vocabulary().save(str(folder))
    ids = folder / names.VOCABULARY_IDS_FILE
    ids.write_bytes(ids.read_bytes()[:-4])
    with pytest.raises(vocabulary.VocabularyError, match=r"ids\.int32: 3 entries, vocabulary.json says 4"):
        vocabulary.load(str(folder))
    description = folder / names.VOCABULARY_FILE
    description.write_text(description.read_text().replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(vocabulary.VocabularyError, match="format_version 99"):
        vocabulary.load(str(folder))
    description.write_text("{")
    with pytest.raises(vocabulary.VocabularyError, match="not JSON"):
        vocabulary.load(str(folder))


@pytest.mark.parametrize("name", [names.VOCABULARY_KEYS_FILE, names.VOCABULARY_IDS_FILE])
def test_a_changed_bit_of_an_array_is_found_when_it_is_checked(tmp_path, name):
    folder = tmp_path / "v"
    small_vocabulary().save(str(folder))
    assert vocabulary.load(str(folder), checked=True).size == 20
    damaged = bytearray((folder / name).read_bytes())
    damaged[5] ^= 1
    (folder / name).write_bytes(damaged)
    assert vocabulary.load(str(folder)).size == 20
    with pytest.raises(vocabulary.VocabularyError, match=r"checksum .* by the files beside it"):
        vocabulary.load(str(folder), checked=True)


def test_a_schema_that_reserves_other_ids_is_not_the_vocabularys(tmp_path):
    folder = tmp_path / "v"
    small_vocabulary().save(str(folder))
    schema = small_schema()
    fewer = Schema(schema.name, schema.fields[:-1], schema.columns)
    (folder / names.SCHEMA_FILE).write_text(schema_file.dump(fewer))
    with pytest.raises(vocabulary.VocabularyError, match=r"vocabulary.json: size 20, but \d+ by the files beside it"):
        vocabulary.load(str(folder))


def test_numbers_need_their_boundaries():
    number = Field("age", "g", "impression", "one", "number", quantiles=4)
    schema = Schema("s", (number,), Columns(click="click", conversion="conversion"))
    with pytest.raises(vocabulary.VocabularyError, match="age"):
        vocabulary.Vocabulary(schema, np.empty(0, np.int64), np.empty(0, np.int32))


def test_a_failed_save_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(schema_file, "dump", lambda schema: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small_vocabulary().save(str(tmp_path / "v"))
    assert not (tmp_path / "v").exists()


def test_what_becomes_of_unknown_ids_of_a_list_stands_in_the_statistics(tmp_path):
    assert small_vocabulary().drops_unknown
    nothing = np.empty(0, np.int64), np.empty(0, np.int32)
    bucket = vocabulary.Vocabulary(small_schema(), *nothing, statistics={vocabulary.OOV: vocabulary.OOV_BUCKET})
    bucket.save(str(tmp_path / "v"))
    assert not vocabulary.load(str(tmp_path / "v")).drops_unknown
    with pytest.raises(vocabulary.VocabularyError, match="'forget': allowed are drop, bucket"):
        vocabulary.Vocabulary(small_schema(), *nothing, statistics={vocabulary.OOV: "forget"})


def test_a_description_without_a_key_is_named(tmp_path):
    small_vocabulary().save(str(tmp_path / "v"))
    path = tmp_path / "v" / names.VOCABULARY_FILE
    for text, message in (
        (path.read_text().replace("kept_ids", "kept"), "has no 'kept_ids'"),
        (path.read_text().replace('"boundaries": {}', '"boundaries": null'), "damaged .*NoneType"),
        (path.read_text().replace('"min_count": 20', '"oov": 5'), "damaged .*oov 5"),
        ("[1]", "format_version None"),
    ):
        path.write_text(text)
        with pytest.raises(vocabulary.VocabularyError, match=message):
            vocabulary.load(str(tmp_path / "v"))
