"""Filesystems of other machines, by fsspec: s3://, gs://, hdfs:// and what else is installed for it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

# What to install for a scheme; each extra is one of setup.py.
_EXTRAS = {"s3": "aws", "s3a": "aws", "gs": "gcp", "gcs": "gcp", "hdfs": "hadoop", "webhdfs": "hadoop"}
_HDFS = ("hdfs", "webhdfs")
_LOCAL = ("file", "local")
# A path such as hdfs://namenode:8020/raw names the port of Hadoop's own protocol; files pass over WebHDFS.
_WEBHDFS_PORT = "9870"


class RemoteError(OSError):
    """A store that cannot be reached or refuses; the message names the path."""


def scheme_of(path: str) -> str:
    """Such as s3."""
    return path.split("://", 1)[0].lower()


def renames_folders(path: str) -> bool:
    """Whether the store moves a folder in one step; object stores copy each object."""
    return scheme_of(path) in _HDFS


def filesystem(path: str) -> Any:
    """The fsspec filesystem of a path. Endpoints and credentials are those of the environment or fsspec's own files.

    Raises:
        RemoteError: the library for the scheme is not installed, or there is none; or the path is a local one.
    """
    scheme = scheme_of(path)
    if scheme in _LOCAL:
        raise RemoteError(f"{path}: a path of this machine is written without {scheme}://")
    with errors(path):
        try:
            if scheme in _HDFS:
                return _hdfs(urlsplit(path).hostname or "", urlsplit(path).port if scheme == "webhdfs" else None)
            return _by_scheme(scheme)
        except ImportError as error:
            extra = _EXTRAS.get(scheme)
            hint = f"pip install 'entire-space[{extra}]'" if extra else "see fsspec's documentation"
            raise RemoteError(f"{path}: {scheme}:// needs a library that is missing ({error}); {hint}") from error


def inner(path: str) -> str:
    """The path as the methods of its filesystem take it."""
    return urlsplit(path).path or "/" if scheme_of(path) in _HDFS else path


@contextlib.contextmanager
def errors(path: str) -> Iterator[None]:
    """Raises what a store's library raises as an OSError that names the path: each has error classes of its own."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: not found") from error
    except (OSError, ImportError) as error:
        if isinstance(error, RemoteError | ImportError):
            raise
        raise RemoteError(f"{path}: {error}") from error
    except Exception as error:
        raise RemoteError(f"{path}: {type(error).__name__}: {error}") from error


def forget() -> None:
    """Lets the next access read endpoints and credentials from the environment again."""
    _by_scheme.cache_clear()
    _hdfs.cache_clear()


@functools.cache
def _by_scheme(scheme: str) -> Any:
    import fsspec

    # A cached listing would hide what other processes write.
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)


@functools.cache
def _hdfs(host: str, port: int | None) -> Any:
    from storage.webhdfs import Hdfs

    return Hdfs(
        host=host,
        port=port or int(os.environ.get("WEBHDFS_PORT", _WEBHDFS_PORT)),
        user=os.environ.get("HADOOP_USER_NAME"),
    )
