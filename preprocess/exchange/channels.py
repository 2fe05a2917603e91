"""What is sent between steps, and by what it is sorted on the way."""

from __future__ import annotations

from preprocess.partition import Partitions

# Rows of either side, by partition.
CONTEXTS = "contexts"
IMPRESSIONS = "impressions"
# Sample ids with their rows' places, by a hash of the sample id.
SAMPLE_IDS = "sample_ids"
# Places of impressions whose sample id an earlier row has, by partition.
DUPLICATES = "duplicates"
# Counts of keys, by range of keys.
COUNTS = "counts"
# Joined pieces, by shard.
PIECES = "pieces"
# Places of rejected rows, by input file.
REJECTS = "rejects"

ALL = (CONTEXTS, IMPRESSIONS, SAMPLE_IDS, DUPLICATES, COUNTS, PIECES, REJECTS)


def key_count(channel: str, partitions: Partitions, files: int) -> int:
    """Keys of a channel: they are numbered from 0. Task k of the step that receives it gets what was sent to key k."""
    if channel in (CONTEXTS, IMPRESSIONS, DUPLICATES):
        return partitions.count
    by_channel = {
        SAMPLE_IDS: partitions.sample_id_parts,
        COUNTS: partitions.key_ranges,
        PIECES: partitions.shard_count,
        REJECTS: files,
    }
    return by_channel[channel]
