"""Names of a served model: its signatures, and the files that stand beside the SavedModel in a version folder."""

from __future__ import annotations

import os
import re

# TensorFlow's DEFAULT_SERVING_SIGNATURE_DEF_KEY: a call that names no signature gets this one.
SHARED_CONTEXT = "serving_default"
EXAMPLES = "examples"
CLASSIFICATION = "classification"
SIGNATURES = (SHARED_CONTEXT, EXAMPLES, CLASSIFICATION)
# Those whose calls a server with --enable_batching may merge: their rows have nothing in common.
MERGEABLE_SIGNATURES = (EXAMPLES, CLASSIFICATION)

# Where TensorFlow Serving looks for files that are no part of the SavedModel proper.
EXTRA_DIR = "assets.extra"
WARM_UP_FILE = "tf_serving_warmup_requests"
HYPERPARAMETERS_FILE = "hyperparameters.json"
# A request and its scores by the checkpoint: what `serving.check` tries a version with.
SAMPLE_FILE = "sample.json"


class CheckError(ValueError):
    """A version that must not go live: its folder and what is wrong with it, a line for each fault."""


def extra_file(version_dir: str, name: str) -> str:
    """Path of a file of assets.extra."""
    return os.path.join(version_dir, EXTRA_DIR, name)


def versions(base: str) -> list[int]:
    """Versions below a model's base folder, ascending; what is not a number is none, as in TensorFlow Serving."""
    # Imported here: the REST client needs only the names above, and TensorFlow takes seconds to import.
    import tensorflow as tf

    if not tf.io.gfile.isdir(base):
        return []
    found = (name.rstrip("/") for name in tf.io.gfile.listdir(base))
    return sorted(int(name) for name in found if re.fullmatch(r"[0-9]+", name))
