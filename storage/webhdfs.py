"""HDFS over WebHDFS, with renames that say whether they happened."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.webhdfs import WebHDFS


class Hdfs(WebHDFS):
    """fsspec's WebHDFS, which takes a refused rename for a done one."""

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Renames a file or folder; a file that is there already is replaced in the same step."""
        self._call("RENAME", method="put", path=path1, destination=path2, renameoptions="OVERWRITE")

    def rename_new(self, path1: str, path2: str) -> bool:
        """Renames unless the target exists, in one step. Returns whether it did."""
        answer = self._call("RENAME", method="put", path=path1, destination=path2)
        return bool(answer.json()["boolean"])
