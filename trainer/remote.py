"""Remote paths that TensorFlow itself does not read: worked on in copies on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from features import names
from storage import lock, ownership, publish, staging
from trainer import terminal
from trainer.options import EXPORT, INFER, REPORT, TRAIN, Options

_COMMAND = "python -m trainer"
# TensorFlow has one error for this and for a GPU's memory.
_DISK_IS_FULL = os.strerror(errno.ENOSPC)
# Of a data_dir: nothing that a model reads.
_NOT_READ = (names.REJECTED_DIR, publish.FAILED, publish.TEMPORARY, publish.JOURNAL_FILE, lock.LOCK_FILE)


def is_foreign(path: str) -> bool:
    """Whether the path is on a store for which this TensorFlow has no filesystem; gs:// is built in."""
    return "://" in path and path.split("://", 1)[0] not in tf.io.gfile.get_registered_schemes()


@contextlib.contextmanager
def within_reach(options: Options) -> Iterator[Options]:
    """The options with a local copy in the place of each path that TensorFlow cannot reach.

    Raises:
        ValueError: processes of a cluster would need to share such a path.
        OSError: a store cannot be read or written.
    """
    # In the order of the flags; tasks read what others write.
    reading = {name: getattr(options, name) for name in ("data_dir", "warm_start_from", "continue_from")}
    working = {} if options.task_type == REPORT else {"model_dir": options.model_dir}
    adding = {"export_dir": options.export_dir} if options.task_type == EXPORT else {}
    writing = {name: path for name, path in _files_to_write(options) if path}
    if not _foreign((*reading.values(), *options.model_dirs, *adding.values(), *writing.values())):
        yield options
        return
    _refuse_cluster(options)
    with contextlib.ExitStack() as stack:
        if working and options.task_type == TRAIN and is_foreign(options.model_dir):
            stack.enter_context(lock.held(options.model_dir, _COMMAND, "model_dir"))
        if adding and is_foreign(options.export_dir):
            stack.enter_context(lock.held(options.export_dir, _COMMAND, "export_dir"))
        if is_foreign(options.data_dir):
            publish.recover(options.data_dir, _COMMAND, "data_dir")
        stage = stack.enter_context(staging.opened(terminal.say))
        made_by = ownership.maker(options.data_dir) if is_foreign(options.data_dir) else None
        changed = {name: _reached(path, lambda folder: stage.read(folder, _NOT_READ)) for name, path in reading.items()}
        if made_by and ownership.maker(options.data_dir) != made_by:
            raise ValueError(f"--data_dir={options.data_dir}: was replaced while it was fetched; run again")
        changed |= {name: _reached(path, stage.work_in) for name, path in working.items()}
        changed |= {name: _reached(path, stage.add_to) for name, path in adding.items()}
        changed |= {name: _reached(path, stage.write) for name, path in writing.items()}
        if options.task_type == REPORT:
            changed["model_dir"] = ",".join(_reached(path, stage.work_in) for path in options.model_dirs)
        yield _with_paths(options, changed)


def _reached(path: str, copy: Callable[[str], str]) -> str:
    """The path itself, or its copy's, which lines on the terminal call by the path's name."""
    if not is_foreign(path):
        return path
    local = copy(path)
    terminal.show_as(local, path)
    return local


def _with_paths(options: Options, paths: Mapping[str, Any]) -> Options:
    return dataclasses.replace(options, **paths)


def _files_to_write(options: Options) -> list[tuple[str, str]]:
    if options.task_type == INFER:
        return [("predictions", options.predictions)]
    return [("report", options.report)] if options.task_type == REPORT else []


def _foreign(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if is_foreign(path)]


def _refuse_cluster(options: Options) -> None:
    if "TF_CONFIG" in os.environ and _foreign((options.model_dir,)):
        raise ValueError(
            f"--model_dir={options.model_dir}: the processes of a cluster share this folder, and TensorFlow "
            f"{tf.__version__} reads no {options.model_dir.split('://')[0]}:// itself; take gs:// or a mounted folder"
        )


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Raises what TensorFlow's file functions raise as OSError, as Python's own do."""
    others = threading.excepthook
    # The thread that writes events prints what it hands on as well.
    threading.excepthook = lambda args: None if _DISK_IS_FULL in str(args.exc_value) else others(args)
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.FailedPreconditionError) as error:
        raise OSError(error.message) from error
    except (tf.errors.ResourceExhaustedError, RuntimeError) as error:
        if _DISK_IS_FULL not in str(error):
            raise
        raise OSError(str(error).splitlines()[0]) from error
    finally:
        threading.excepthook = others
