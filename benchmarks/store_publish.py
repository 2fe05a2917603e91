"""How long a finished output takes to be put in place on an object store, by three ways of copying.

python benchmarks/store_publish.py --store=s3://bucket/folder [--files=200] [--kilobytes=256] [--milliseconds=20]

An object store renames nothing: the files of a run are copied to their places, and those of the run removed. With
--milliseconds the store of AWS_ENDPOINT_URL is met through a proxy that keeps each answer so long, as the way to a
store of another building does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import storage
from storage import files


class Delay:
    """A proxy of this machine's whose answers come later.

    Args:
        url: of the store.
        seconds: that each piece of an answer is kept.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._target, self._seconds = urlsplit(url), seconds
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        serving = asyncio.start_server(self._pass, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, calls = await asyncio.open_connection(self._target.hostname, self._target.port)
        await asyncio.gather(_pour(reader, calls, 0), _pour(answers, writer, self._seconds))


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    while piece := await source.read(1 << 20):
        await asyncio.sleep(seconds)
        target.write(piece)
    target.close()


def through_this_machine(sources: list[str], targets: list[str]) -> None:
    for source, target in zip(sources, targets, strict=True):
        storage.write(target, [storage.read(source)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="folder that is made and removed")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--kilobytes", type=int, default=256)
    parser.add_argument("--milliseconds", type=float, default=0)
    given = parser.parse_args()
    if given.milliseconds:
        os.environ["AWS_ENDPOINT_URL"] = Delay(os.environ["AWS_ENDPOINT_URL"], given.milliseconds / 1000).url
    folder = given.store.rstrip("/") + "/store_publish"
    local = [os.urandom(given.kilobytes * 1000)]
    sources = [f"{folder}/run/part-{number:05d}" for number in range(given.files)]
    for source in sources:
        storage.write(source, local)
    ways: dict[str, Callable[[list[str], list[str]], None]] = {
        "through this machine, one after the other": through_this_machine,
        "within the store, one after the other": lambda found, targets: files.copy_many(found, targets, at_once=1),
        "within the store, 16 at a time (as the job does)": files.copy_many,
    }
    seconds = {}
    for number, (way, copy) in enumerate(ways.items()):
        targets = [source.replace("/run/", f"/place{number}/") for source in sources]
        begin = time.monotonic()
        copy(sources, targets)
        seconds[way] = time.monotonic() - begin
        assert all(storage.size(target) == given.kilobytes * 1000 for target in targets[::50])
    storage.remove(folder)
    slowest = max(seconds.values())
    for way, taken in seconds.items():
        print(
            f"{given.files} files of {given.kilobytes} kB {way}: {taken:.2f} s, {slowest / taken:.1f} times the slowest"
        )


if __name__ == "__main__":
    main()
