"""Names that more than one package writes or reads: record keys, file names, splits. Each stands here once."""

from __future__ import annotations

import os

from storage import publish

# Keys of a record (tf.train.Example) beside those of the fields. No field may be called so.
SAMPLE_ID = "sample_id"
CLICK = "click"
CONVERSION = "conversion"
SAMPLE_WEIGHT = "sample_weight"
SAMPLE_USER = "sample_user"
# Of a click whose window is still open, the share of its window's conversions that a log shows at its age; else 1.
KNOWN_SHARE = "known_share"
LABELS = (CLICK, CONVERSION, SAMPLE_WEIGHT, KNOWN_SHARE)
RESERVED_KEYS = frozenset({SAMPLE_ID, SAMPLE_USER, *LABELS})

# Names of a model's scores, wherever they leave it.
PCTR = "pctr"
PCVR = "pcvr"
PCTCVR = "pctcvr"
SCORES = (PCTR, PCVR, PCTCVR)

TRAIN = "train"
TEST = "test"
# Rows that wait for scores: those of this split may lack the columns of labels.
SCORE = "score"
ZERO_WORDS = ("0", "no label")
SPLITS = (TRAIN, TEST)

# What padding of a raw id, a raw word and a raw number looks like in a rectangular serving request.
PADDING_ID = -1
PADDING_STRING = ""
PADDING_NUMBER = float("nan")

# Below the output folder of the preprocess job.
VOCABULARY_DIR = "vocabulary"
VOCABULARY_FILE = "vocabulary.json"
VOCABULARY_KEYS_FILE = "keys.int64"
VOCABULARY_IDS_FILE = "ids.int32"
HISTORY_DIR = "history"
SCHEMA_FILE = "schema.yaml"
SAMPLE_REQUESTS_FILE = "sample_requests.json"
REJECTED_DIR = "rejected"
REPORT_DIR = "report"
REPORT_JSON = "report.json"
REPORT_HTML = "report.html"
SUCCESS_FILE = publish.SUCCESS_FILE
RECORD_SUFFIX = ".tfrecord"
GZIP_SUFFIX = ".gz"

# Forms of a raw log.
ALICCP = "aliccp"
CSV = "csv"
PARQUET = "parquet"
INPUT_FORMATS = (ALICCP, CSV, PARQUET)

# Separators of Ali-CCP's feature lists, and its two files of a split.
FEATURE_SEPARATOR = "\x01"
FIELD_SEPARATOR = "\x02"
VALUE_SEPARATOR = "\x03"


def skeleton_file(split: str) -> str:
    """Ali-CCP's file of impressions: sample_id,click,conversion,common_feature_index,feature_num,feature_list."""
    return f"sample_skeleton_{split}.csv"


def common_file(split: str) -> str:
    """Ali-CCP's file of contexts: common_feature_index,feature_num,feature_list."""
    return f"common_features_{split}.csv"


def log_patterns(input_dir: str, split: str, input_format: str) -> tuple[str, ...]:
    """Globs of a split's files in a log of one's own: names that begin with it, or a folder; CSV also compressed."""
    suffixes = ["." + input_format] + (["." + input_format + GZIP_SUFFIX] if input_format == CSV else [])
    places = (split + "*", os.path.join(split, "*"))
    return tuple(os.path.join(input_dir, place + suffix) for place in places for suffix in suffixes)


def truth_file(split: str) -> str:
    """The side file of a simulated log: sample_id,p_click,p_conversion,conversion_if_clicked."""
    return f"truth_{split}.csv"


def times_file(split: str) -> str:
    """Another one, where conversions come late: sample_id,time,click_time,conversion_time in seconds since 1970."""
    return f"times_{split}.csv"


def weight_key(field: str) -> str:
    """Record key and model input of a field's weights."""
    return field + "/weight"


def length_key(field: str) -> str:
    """Record key of the number of ids that each impression has of a field with many."""
    return field + "/length"


def vocabulary_dir(data_dir: str) -> str:
    """Where the preprocess job leaves the vocabulary."""
    return os.path.join(data_dir, VOCABULARY_DIR)


def records_pattern(data_dir: str, split: str) -> str:
    """Glob of a split's record files, compressed or not, without the temporary ones."""
    return os.path.join(data_dir, split, f"part-*{RECORD_SUFFIX}*")
