"""What an export carries beside the model; no TensorFlow here, since commands read it before they need any."""

from __future__ import annotations

import dataclasses

# Records of the warm-up file: one for each signature, none of the columnar one (servers with --enable_batching refuse
# it, and with it the version), or no file.
WARM_UP_ALL = "all"
WARM_UP_EXAMPLES = "examples"
WARM_UP_NONE = "none"
WARM_UPS = (WARM_UP_ALL, WARM_UP_EXAMPLES, WARM_UP_NONE)

# The request that a version is tried and warmed up with: made of frequent values, or one of the log as it stands.
SYNTHETIC = "synthetic"
LOGGED = "log"
SAMPLE_REQUESTS = (SYNTHETIC, LOGGED)

# In what numbers the rows of the embedding table are kept; they are float32 again once they are looked up.
FLOAT32 = "float32"
FLOAT16 = "float16"
TABLE_PRECISIONS = (FLOAT32, FLOAT16)


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        warm_up: one of `WARM_UPS`.
        sample_request: one of `SAMPLE_REQUESTS`.
        checked: whether a fresh process tries the version before it gets its number.
        table_precision: one of `TABLE_PRECISIONS`.
    """

    warm_up: str = WARM_UP_ALL
    sample_request: str = SYNTHETIC
    checked: bool = True
    table_precision: str = FLOAT32


DEFAULTS = ExportOptions()
