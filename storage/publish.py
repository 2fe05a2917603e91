"""A folder that is replaced as a whole: made aside, then put in its place; what was there stays until that is complete.

A run writes below OUT/_temporary/RUN. When all is there it writes OUT/_publishing.json, which says what goes where:
from then on the new output is whole, and whoever comes next finishes what a kill interrupted. Until then nothing of the
old output was touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from storage import files, lock, ownership, process, remote
from storage.ownership import OwnershipError
from storage.paths import is_local, join, stay_below
from storage.process import Process

TEMPORARY = "_temporary"
JOURNAL_FILE = "_publishing.json"
SUCCESS_FILE = "_SUCCESS"
FAILED = "_failed"
# Names at the top of an output folder that no part of an output may have.
RESERVED = frozenset({TEMPORARY, JOURNAL_FILE, SUCCESS_FILE, FAILED, ownership.MARK_FILE, lock.LOCK_FILE})
_RUN = re.compile("[0-9a-f]{32}")

# Below a run's temporary folder: whole parts on their way to their place, and those that they replace.
_NEW = "new"
_OLD = "old"


class OutputError(ValueError):
    """An output folder that must not be written to."""


@dataclasses.dataclass(frozen=True)
class _Journal:
    """What a publication does.

    Attributes:
        run: whose temporary folder holds the new parts.
        by: that run, as JSON.
        files: paths of all files of the new output, below the output folder.
        moves: (path below the temporary folder, path below the output folder): of parts or, on object stores, files.
        dropped: paths below the output folder of what makes room: the parts of the old output, which move away before
            the new ones come; on object stores its files that the new one has not.
    """

    run: str
    by: str
    files: list[str]
    moves: list[tuple[str, str]]
    dropped: list[str]

    @classmethod
    def parse(cls, data: bytes) -> _Journal:
        """What was written as JSON.

        Raises:
            ValueError, TypeError, AttributeError: it is something else, or names places outside of the folder.
        """
        found = cls(**json.loads(data))
        moved = [path for source, target in found.moves for path in (source, target)]
        named = _RUN.fullmatch(found.run) and process.from_json(found.by.encode())
        if not named or not stay_below([*found.files, *moved, *found.dropped]):
            raise ValueError("no list of what a run puts in place")
        return found


@dataclasses.dataclass(frozen=True)
class Output:
    """An output folder in the making.

    Attributes:
        folder: where the output will be.
        by: the run that makes it.
        flag: that names the folder, for messages.
    """

    folder: str
    by: Process
    flag: str

    @property
    def temporary(self) -> str:
        """Folder of this run alone, for what it writes until it publishes."""
        return join(self.folder, TEMPORARY, self.by.run)

    def publish(self, parts: Mapping[str, str], promised: Iterable[str] = ()) -> None:
        """Puts finished parts in their places, in that of the output that was there, and marks it as complete.

        Args:
            parts: path below `temporary` of each part, a folder, by its name in the output folder; absent ones are
                passed over.
            promised: paths below `temporary` of files that were written into the parts.

        Raises:
            OutputError: a file that this command did not make is in the way, or a promised one is gone. Nothing was
                changed.
        """
        refuse_strays(self.folder, self.flag)
        found = {name: _finished_files(join(self.temporary, part)) for name, part in parts.items()}
        targets = {f"{name}/{path}": f"{parts[name]}/{path}" for name, paths in found.items() for path in paths}
        self._refuse_gone(set(promised) - set(targets.values()))
        old = ownership.made_files(self.folder)
        self._refuse_collision(_tops(targets) - _tops(old))
        moves = [(source, target) for target, source in targets.items()]
        dropped = old - targets.keys()
        if _moves_folders(self.folder):
            moves = self._gather(moves)
            dropped = frozenset(name for name in _tops(old) if files.exists(join(self.folder, name)))
        journal = _Journal(self.by.run, self.by.to_json().decode(), sorted(targets), moves, sorted(dropped))
        files.write(join(self.folder, JOURNAL_FILE), [json.dumps(dataclasses.asdict(journal)).encode()])
        _finish(self.folder, journal)

    def leave(self, parts: Mapping[str, str]) -> str:
        """Puts parts of a run that fails where they can be looked at; the output stays what it was.

        Args:
            parts: as of `publish`.

        Returns:
            The folder that they are in.
        """
        failed = join(self.folder, FAILED)
        _remove_failed(self.folder)
        ownership.mark(failed, self.by)
        for name, part in parts.items():
            found = _finished_files(join(self.temporary, part))
            files.copy_many(
                [join(self.temporary, part, path) for path in found], [join(failed, name, path) for path in found]
            )
        return failed

    def _gather(self, moves: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Moves files into new folders, where no late task writes, and returns the moves of those folders."""
        for source, target in moves:
            files.move(join(self.temporary, source), join(self.temporary, _NEW, target))
        return [(f"{_NEW}/{name}", name) for name in sorted(_tops(target for _, target in moves))]

    def _refuse_gone(self, paths: Collection[str]) -> None:
        if paths:
            raise OutputError(
                f"{join(self.temporary, min(paths))}: gone, which this run had written ({len(paths)} such files); see "
                f"what clears up in {join(self.folder, TEMPORARY)} and run again"
            )

    def _refuse_collision(self, added: frozenset[str]) -> None:
        for name in sorted(added):
            if files.exists(join(self.folder, name)):
                raise OutputError(f"{join(self.folder, name)}: no run of this command made it; move it away")


@contextlib.contextmanager
def making(
    folder: str,
    command: str,
    flag: str,
    overwrite: bool = False,
    keep_temporary: bool = False,
    say: Callable[[str], None] = print,
) -> Iterator[Output]:
    """Prepares an output folder, locks it and hands it out; cleans up after the block.

    Args:
        folder: of the output, local or remote.
        command: that makes it, such as `python -m preprocess`.
        flag: that names the folder, for messages.
        overwrite: whether a complete output may be replaced.
        keep_temporary: whether the files of a failed run stay.
        say: is told what became of the files of a failed run.

    Raises:
        OutputError: the folder is complete and `overwrite` is not given, or is not this command's.
        LockedError: another run works in it.
    """
    _refuse_foreign(folder, command, flag)
    with lock.held(folder, command, flag):
        _refuse_foreign(folder, command, flag)
        finish_interrupted(folder)
        _refuse_complete(folder, flag, overwrite)
        refuse_strays(folder, flag)
        _remove_leftovers(folder)
        output = _begin(folder, command, flag)
        try:
            yield output
        except BaseException:
            say(_after_failure(output, keep_temporary))
            raise
        # Once more: a worker that outlived its killed run may have written meanwhile.
        _remove_leftovers(folder)


def _begin(folder: str, command: str, flag: str) -> Output:
    output = Output(folder, process.this(command), flag)
    if ownership.maker(folder) is None:
        ownership.mark(folder, output.by)
    return output


def _refuse_foreign(folder: str, command: str, flag: str) -> None:
    try:
        ownership.refuse_foreign(folder, command, flag)
    except OwnershipError as error:
        raise OutputError(str(error)) from None


def _refuse_complete(folder: str, flag: str, overwrite: bool) -> None:
    if not overwrite and files.exists(join(folder, SUCCESS_FILE)):
        raise OutputError(f"--{flag}={folder}: holds a complete output; give --overwrite to replace it")


def refuse_strays(folder: str, flag: str) -> None:
    """Refuses an output that has come to hold files of others in its parts: they would go with it.

    Raises:
        OutputError: with the first such file.
    """
    made = ownership.made_files(folder)
    for name in sorted(_tops(made)):
        below = [path for path, _ in files.walk(join(folder, name))]
        strays = [path for path in below if path[len(folder.rstrip("/")) + 1 :] not in made]
        if strays:
            raise OutputError(f"--{flag}={folder}: {strays[0]} is not of this command; move it away")


def finish_interrupted(folder: str) -> bool:
    """Ends a publication that was interrupted. Returns whether there was one. Call it under the folder's lock."""
    path = join(folder, JOURNAL_FILE)
    try:
        data = files.read(path)
    except FileNotFoundError:
        return False
    try:
        journal = _Journal.parse(data)
    except (ValueError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: damaged ({error}); delete it and make the output again") from error
    if not _is_in_place(folder, journal):
        _refuse_gone(folder, journal)
    _finish(folder, journal)
    return True


def _refuse_gone(folder: str, journal: _Journal) -> None:
    """Refuses to go on where files of the new output are neither in the run's folder nor in their place.

    Raises:
        OutputError: with the first of them. Nothing was changed.
    """
    places = {
        target: target if _is_moved(folder, journal, source, target) else f"{TEMPORARY}/{journal.run}/{source}"
        for source, target in journal.moves
    }
    wanted = set()
    for path in journal.files:
        target = path if path in places else path.split("/")[0]
        wanted.add(places.get(target, target) + path[len(target) :])
    if missing := wanted - _paths_below(folder):
        raise OutputError(_gone(folder, min(missing)))


def _is_in_place(folder: str, journal: _Journal) -> bool:
    """Whether all was found in its place already: the mark tells of it only then."""
    by = process.from_json(journal.by.encode())
    return ownership.maker(folder) == by and ownership.made_files(folder) == frozenset(journal.files)


def _is_moved(folder: str, journal: _Journal, source: str, target: str) -> bool:
    """Whether a part has come to its place: no longer in its first one, while the old one has made room."""
    temporary = join(folder, TEMPORARY, journal.run)
    if not _moves_folders(folder) or files.exists(join(temporary, source)):
        return False
    return target not in journal.dropped or files.exists(join(temporary, _OLD, target))


def _gone(folder: str, path: str) -> str:
    journal = join(folder, JOURNAL_FILE)
    remedy = "delete this output, or name another folder, and make it again"
    if files.exists(join(folder, SUCCESS_FILE)):
        remedy = f"delete {journal} to keep the output of before, which is whole"
    return f"{join(folder, path)}: gone, which a run had made and was putting in place when it was killed; {remedy}"


def recover(folder: str, command: str, flag: str) -> None:
    """Ends an interrupted publication, for a command that reads the folder.

    Raises:
        LockedError: it is not interrupted but under way.
    """
    if files.exists(join(folder, JOURNAL_FILE)):
        with lock.held(folder, command, flag):
            finish_interrupted(folder)


def _finish(folder: str, journal: _Journal) -> None:
    """Does, or does again from wherever it was interrupted, what the journal says.

    Raises:
        OutputError: files that it names are gone.
    """
    if not _is_in_place(folder, journal):
        _put_in_place(folder, journal)
    # Not empty: some stores refuse empty objects.
    files.write(join(folder, SUCCESS_FILE), [b"complete\n"])
    files.remove(join(folder, JOURNAL_FILE))
    _remove_failed(folder)
    _remove_run(join(folder, TEMPORARY, journal.run))


def _put_in_place(folder: str, journal: _Journal) -> None:
    temporary = join(folder, TEMPORARY, journal.run)
    files.remove(join(folder, SUCCESS_FILE))
    if _moves_folders(folder):
        _move_folders(folder, temporary, journal)
    else:
        files.copy_many(
            [join(temporary, source) for source, _ in journal.moves],
            [join(folder, target) for _, target in journal.moves],
        )
        files.remove_many([join(folder, path) for path in journal.dropped])
    if missing := set(journal.files) - _paths_below(folder):
        raise OutputError(_gone(folder, min(missing)))
    by = process.from_json(journal.by.encode())
    assert by is not None, "written by Output.publish"
    ownership.mark(folder, by, tuple(journal.files))


def _move_folders(folder: str, temporary: str, journal: _Journal) -> None:
    for path in journal.dropped:
        # What is there beside the one that has made room is the new one.
        if files.exists(join(folder, path)) and not files.exists(join(temporary, _OLD, path)):
            files.move(join(folder, path), join(temporary, _OLD, path))
    for source, target in journal.moves:
        if files.exists(join(temporary, source)):
            files.move(join(temporary, source), join(folder, target))


def _finished_files(folder: str) -> list[str]:
    """Paths below a folder of whole files: what a killed or late task was writing is none."""
    return sorted(path for path in _paths_below(folder) if not path.endswith(files.TEMPORARY_SUFFIX))


def _paths_below(folder: str) -> set[str]:
    return {path[len(folder.rstrip("/")) + 1 :] for path, _ in files.walk(folder)}


def _moves_folders(folder: str) -> bool:
    return is_local(folder) or remote.renames_folders(folder)


def _after_failure(output: Output, keep: bool) -> str:
    if files.exists(join(output.folder, JOURNAL_FILE)):
        return (
            f"{output.folder}: the new output is whole but not in its place; the next run of the command puts it there"
        )
    if keep:
        return f"{output.temporary}: kept, with what the failed run wrote; the next run removes it"
    _remove_run(output.temporary)
    return f"{output.temporary}: removed; nothing else in {output.folder} was changed"


def _remove_leftovers(folder: str) -> None:
    """Removes what runs left in a folder that bears the mark; `_temporary` of others has other names."""
    for name in filter(_RUN.fullmatch, files.names_in(join(folder, TEMPORARY))):
        _remove_run(join(folder, TEMPORARY, name))
    for name in files.names_in(folder):
        if files.unfinished_of(name) in RESERVED:
            files.remove(join(folder, name))


def _remove_failed(folder: str) -> None:
    if ownership.maker(join(folder, FAILED)):
        files.remove(join(folder, FAILED))


def _remove_run(run: str) -> None:
    files.remove(run)
    temporary = run.rsplit("/", 1)[0]
    if _moves_folders(temporary) and not files.names_in(temporary):
        files.remove(temporary)


def _tops(paths: Iterable[str]) -> frozenset[str]:
    """Names of the parts that paths below an output folder lie in."""
    return frozenset(path.split("/")[0] for path in paths)
