"""Why a row of a raw log is not used: the names that rejected files, reports and simulated logs share.

A row with several defects is rejected for the first of them in the order of this module.
"""

from __future__ import annotations

BLANK_LINE = "blank_line"
NOT_UTF8 = "not_utf8"
OPEN_QUOTE = "open_quote"
WRONG_COLUMN_COUNT = "wrong_column_count"
BAD_NUMBER = "bad_number"
BAD_TIME = "bad_time"
CLICK_NOT_BINARY = "click_not_binary"
CONVERSION_NOT_BINARY = "conversion_not_binary"
CONVERSION_WITHOUT_CLICK = "conversion_without_click"
WRONG_FEATURE_COUNT = "wrong_feature_count"
BAD_FEATURE = "bad_feature"
BAD_WEIGHT = "bad_weight"
ID_OUT_OF_RANGE = "id_out_of_range"
INEXACT_ID = "inexact_id"
SEVERAL_VALUES = "several_values"
WRONG_VECTOR_SIZE = "wrong_vector_size"
DUPLICATE_SAMPLE_ID = "duplicate_sample_id"
DUPLICATE_CONTEXT = "duplicate_context"
CONTEXT_MISMATCH = "context_mismatch"

DESCRIPTIONS = {
    BLANK_LINE: "the line holds nothing, or white space only",
    NOT_UTF8: "the row holds bytes that are not UTF-8",
    OPEN_QUOTE: "a cell begins with a quote that is not closed at a separator or line end; the line alone is left out",
    WRONG_COLUMN_COUNT: "the line has more or fewer columns than its file should have",
    BAD_NUMBER: "a sample id, feature count or number is not a whole (or, for a number field, finite) number",
    BAD_TIME: "a time is neither an epoch number nor an ISO text, there is none, or a conversion is before its click",
    CLICK_NOT_BINARY: "click is neither 0 nor 1",
    CONVERSION_NOT_BINARY: "conversion is neither 0 nor 1",
    CONVERSION_WITHOUT_CLICK: "conversion is 1 where click is 0",
    WRONG_FEATURE_COUNT: "feature_num is not the number of features in the list",
    BAD_FEATURE: "a feature is not of the form field, id, value, or its id is not a whole number",
    BAD_WEIGHT: "a weight is NaN, negative, infinite or no number",
    ID_OUT_OF_RANGE: "an id or sample id is negative or beyond int64",
    INEXACT_ID: "a whole number in a column of floats is so large that it may have been rounded; write it as int64",
    SEVERAL_VALUES: "a field of kind one has more than one value",
    WRONG_VECTOR_SIZE: "a vector has another number of numbers than the schema's size",
    DUPLICATE_SAMPLE_ID: "an earlier row has the same sample id; the first one is used",
    DUPLICATE_CONTEXT: "an earlier row has the same context key; the first one is used",
    CONTEXT_MISMATCH: "the context columns differ from those of the request's first row, which is used",
}

# In the order in which a row is tested.
REASONS = tuple(DESCRIPTIONS)
# Of CSV and Parquet alone: Ali-CCP's files have no quotes, no floats as ids and each context once.
OF_TABLES = frozenset({BAD_TIME, OPEN_QUOTE, INEXACT_ID, WRONG_VECTOR_SIZE, CONTEXT_MISMATCH})
