"""Places of rejected rows on their way to the task that writes them."""

from __future__ import annotations

import numpy as np

from features import row_places
from preprocess.columns import rows
from preprocess.columns.rows import Rejects
from preprocess.exchange import channels, mail
from preprocess.exchange.mail import Inbox, Outbox


def send(found: Rejects, outbox: Outbox) -> None:
    """Sends rejected rows to their files."""
    file_index = row_places.file_and_offset(found.place)[0]
    for number in np.unique(file_index).tolist():
        mine = file_index == number
        outbox.send(channels.REJECTS, number, {name: column[mine] for name, column in vars(found).items()})


def receive(inbox: Inbox) -> Rejects:
    """All rejected rows of a file, in order of place."""
    parts = mail.all_arrays(inbox.parts(channels.REJECTS))
    merged = rows.merge_rejects([Rejects(**arrays) for arrays in parts])
    order = np.argsort(merged.place)
    return Rejects(*(column[order] for column in vars(merged).values()))
