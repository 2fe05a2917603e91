"""--task_type=report: one HTML page about one model or several side by side."""

from __future__ import annotations

import os

from storage import ownership
from trainer.model_dir import write_whole
from trainer.model_report import html, page, trained_model
from trainer.model_report.pictures import COLORS
from trainer.options import Options
from trainer.terminal import say

REPORT_FILE = "model_report.html"


def make(options: Options) -> str:
    """Writes the page about the models of --model_dir.

    Args:
        options: of the run.

    Returns:
        Path of the page.

    Raises:
        ValueError: a model_dir holds no trained and evaluated model, or there are too many.
        storage.ownership.OwnershipError: another file is in the page's place.
    """
    folders = options.model_dirs
    if not 1 <= len(folders) <= len(COLORS):
        raise ValueError(
            f"--model_dir names {len(folders)} folders: allowed are 1 to {len(COLORS)}, with commas between"
        )
    path = options.report or os.path.join(folders[0], REPORT_FILE)
    ownership.refuse_foreign_file(path, html.beginning(page.TITLE).encode(), "report")
    made = page.page(trained_model.load_all(folders, options.split))
    write_whole(path, made)
    say(f"wrote {path}")
    return path
