"""What the job is asked to do: one frozen dataclass, made of flags by `__main__` and of anything by tests."""

from __future__ import annotations

import dataclasses
import re

from features import names
from features.raw_log import moments
from features.vocabulary import OOV_DROP, OOV_MODES
from preprocess import durations
from preprocess.read.conversions import Window

GZIP = "GZIP"
NONE = "NONE"
COMPRESSIONS = (GZIP, NONE)

# A record is parsed as a whole by its readers, so that even the request of a crawler must not grow without bound.
MAX_IMPRESSIONS_PER_RECORD = 16384

MIB = 1 << 20

# A split becomes a folder of the output, beside these.
_PARTS = frozenset({names.VOCABULARY_DIR, names.REPORT_DIR, names.REJECTED_DIR})
_SPLIT = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")


class OptionsError(ValueError):
    """A setting that cannot be; the message names the flag, the value and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of one run; each is the flag of the same name.

    Attributes:
        input_dir: folders of the raw log, comma-separated; globs and remote paths are allowed.
        output_dir: folder to make.
        input_format: one of `names.INPUT_FORMATS`.
        schema: schema file, or the name of a bundled schema.
        splits: splits to process, in order.
        min_count: an id is kept that occurs in at least so many impressions of the train split.
        impressions_per_record: a longer request is cut into records of so many; 0: whole requests.
        compression: GZIP or NONE.
        oov: what becomes of filtered and unknown ids in a field with many: `drop` or `bucket`.
        vocabulary: folder of an existing vocabulary to use instead of building one.
        previous_vocabulary: folder of the vocabulary of the day before, whose ids stay; empty: a first day.
        count_half_life_days: after so many days a count of earlier days is half; 0: never.
        elapsed_days: days from the log of the previous vocabulary to this one.
        evict_below: an id is freed when its decayed count falls below this; 0: never.
        add_fields: fields of the schema that the previous vocabulary does not have.
        remove_fields: fields of the previous vocabulary that the schema does not have any more.
        warn_psi: population stability index of a field above which the report warns.
        warn_new_share: share of a field's values with unknown ids above which it warns.
        warn_coverage_change: change of a field's coverage above which it warns.
        warn_rate_change: relative change of the click or conversion rate above which it warns.
        max_rejected: largest allowed share of rejected rows, from 0 to 1.
        keep_useless: whether an output is kept of which nothing can be learnt: see `report.verdict`.
        overwrite: whether a complete output folder may be replaced.
        keep_temporary: whether a failed run leaves its intermediate files.
        test_fraction: share of requests that go to the test split of a log that is not split into files.
        test_from: date or time (ISO 8601, UTC) from which on rows of such a log are the test split's; empty: by share.
        conversion_window: length of time (7d, 36h) from a click to the last conversion that counts; empty: all do.
        log_cut: date or time (ISO 8601, UTC) at which the log was written: later conversions cannot be in it.
        hold_back: length of time before the cut whose impressions are left out, for a later run to use.
        weigh_open_clicks: whether records tell how much of the window's conversions each open click can have shown.
        seed: of the order of the requests.
        shards: record files of the largest split; 0: one for each 32 MiB of raw log, at least 8.
        block_size: bytes of input that are parsed at a time.
        piece_size: bytes of parsed rows that are joined at a time.
    """

    input_dir: str
    output_dir: str
    input_format: str = names.ALICCP
    schema: str = names.ALICCP
    splits: tuple[str, ...] = (names.TRAIN, names.TEST)
    min_count: int = 20
    impressions_per_record: int = 0
    compression: str = GZIP
    oov: str = OOV_DROP
    vocabulary: str = ""
    previous_vocabulary: str = ""
    count_half_life_days: float = 14.0
    elapsed_days: float = 1.0
    evict_below: float = 0.0
    add_fields: tuple[str, ...] = ()
    remove_fields: tuple[str, ...] = ()
    warn_psi: float = 0.25
    warn_new_share: float = 0.5
    warn_coverage_change: float = 0.1
    warn_rate_change: float = 0.5
    max_rejected: float = 0.01
    keep_useless: bool = False
    overwrite: bool = False
    keep_temporary: bool = False
    test_fraction: float = 0.2
    test_from: str = ""
    conversion_window: str = ""
    log_cut: str = ""
    hold_back: str = ""
    weigh_open_clicks: bool = False
    seed: int = 0
    shards: int = 0
    block_size: int = 24 * MIB
    piece_size: int = 64 * MIB

    def __post_init__(self) -> None:
        self._require("input_dir", bool(self.input_dir), "a folder")
        self._require("output_dir", bool(self.output_dir), "a folder")
        self._require("input_format", self.input_format in names.INPUT_FORMATS, ", ".join(names.INPUT_FORMATS))
        self._require_splits()
        self._require("min_count", self.min_count >= 1, "1 or more")
        allowed = f"0 (whole requests) to {MAX_IMPRESSIONS_PER_RECORD}"
        fits = 0 <= self.impressions_per_record <= MAX_IMPRESSIONS_PER_RECORD
        self._require("impressions_per_record", fits, allowed)
        self._require("compression", self.compression in COMPRESSIONS, ", ".join(COMPRESSIONS))
        self._require("oov", self.oov in OOV_MODES, ", ".join(OOV_MODES))
        self._require("max_rejected", 0 <= self.max_rejected <= 1, "0 to 1")
        self._require("test_fraction", 0 <= self.test_fraction < 1, "0 to 1, 1 excluded")
        self._check_test_from()
        self._require("shards", self.shards >= 0, "0 (by input size) or more")
        self._require("block_size", self.block_size >= 1, "1 or more")
        self._require("piece_size", self.piece_size >= 1, "1 or more")
        if names.TRAIN not in self.splits and not self.vocabulary:
            raise OptionsError(
                f"--splits={','.join(self.splits)}: the vocabulary is built from the split {names.TRAIN}, "
                "which is not among them; add it or give --vocabulary=DIR"
            )

        self._check_days()
        self._check_window()

    def _require_splits(self) -> None:
        if not self.splits or len({split.lower() for split in self.splits}) != len(self.splits):
            raise OptionsError(f"--splits={','.join(self.splits)}: allowed are names unlike each other")
        for split in self.splits:
            if not _SPLIT.fullmatch(split) or split.lower() in _PARTS:
                raise OptionsError(
                    f"--splits={','.join(self.splits)}: {split!r} cannot be the name of a split; allowed are letters, "
                    f"digits, - and _, a letter or digit first, but not {', '.join(sorted(_PARTS))}"
                )

    @property
    def test_from_seconds(self) -> int | None:
        """Seconds since 1970 of `test_from`."""
        return moments.of_text(self.test_from) if self.test_from else None

    def _check_test_from(self) -> None:
        try:
            fits = self.test_from_seconds is None or len(self.splits) == 2
        except ValueError:
            fits = False
        self._require("test_from", fits, "a date or time such as 2026-01-07, with two --splits")

    def _check_window(self) -> None:
        for name in ("conversion_window", "hold_back"):
            self._require(name, not getattr(self, name) or durations.is_one(getattr(self, name)), durations.ALLOWED)
        fits = not self.log_cut or moments.is_one(self.log_cut)
        self._require("log_cut", fits, "a date or time such as 2026-01-07 or 2026-01-07T04:00")
        self._require("log_cut", not self.log_cut or bool(self.conversion_window), "with --conversion_window only")
        for name in ("hold_back", "weigh_open_clicks"):
            self._require(name, not getattr(self, name) or bool(self.log_cut), "with --log_cut only")

    @property
    def window(self) -> Window:
        """Which conversions count."""
        return Window(
            durations.seconds(self.conversion_window) if self.conversion_window else None,
            moments.of_text(self.log_cut) if self.log_cut else None,
            durations.seconds(self.hold_back),
            self.weigh_open_clicks,
        )

    def _check_days(self) -> None:
        self._require("count_half_life_days", self.count_half_life_days >= 0, "0 (never) or more")
        self._require("elapsed_days", self.elapsed_days >= 0, "0 or more")
        for name in ("warn_psi", "warn_new_share", "warn_coverage_change", "warn_rate_change"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        allowed = f"0 (never) to --min_count={self.min_count}"
        self._require("evict_below", 0 <= self.evict_below <= self.min_count, allowed)
        if self.previous_vocabulary and self.vocabulary:
            raise OptionsError(
                "--vocabulary and --previous_vocabulary: give one. The first is used as it is; new ids are added to "
                "the second"
            )
        if self.previous_vocabulary and names.TRAIN not in self.splits:
            raise OptionsError(f"--previous_vocabulary: new ids come from the split {names.TRAIN}; add it to --splits")
        for name in ("add_fields", "remove_fields"):
            self._require(name, bool(self.previous_vocabulary) or not getattr(self, name), "--previous_vocabulary only")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise OptionsError(f"--{name}={getattr(self, name)}: allowed is {allowed}")

    @property
    def record_limit(self) -> int:
        """Largest number of impressions in a record."""
        return self.impressions_per_record or MAX_IMPRESSIONS_PER_RECORD
