"""Sample ids on their way to where equal ones meet."""

from __future__ import annotations

import numpy as np

from features import keys
from preprocess.columns import rows
from preprocess.columns.rows import Rows
from preprocess.columns.segments import Arrays
from preprocess.exchange import channels, mail
from preprocess.exchange.mail import Inbox, Outbox

PARTITION = "partition"


def send(impressions: Rows, partition: np.ndarray, parts: int, outbox: Outbox) -> None:
    """Sends sample ids, with places and partitions of their rows, to one of `parts` by their hash."""
    sample_id = impressions.columns[rows.SAMPLE_ID]
    part = (keys.mix64(sample_id).view(np.uint64) % np.uint64(parts)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    columns = {
        rows.SAMPLE_ID: sample_id[order],
        rows.PLACE: impressions.columns[rows.PLACE][order],
        PARTITION: partition[order].astype(np.int32),
    }
    edges = np.searchsorted(part[order], np.arange(parts + 1)).tolist()
    for number in range(parts):
        chosen = slice(edges[number], edges[number + 1])
        outbox.send(channels.SAMPLE_IDS, number, {name: column[chosen] for name, column in columns.items()})


def receive(inbox: Inbox) -> Arrays:
    """All sample ids of a part; nothing where there are none."""
    found = list(mail.all_arrays(inbox.parts(channels.SAMPLE_IDS)))
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]} if found else {}
