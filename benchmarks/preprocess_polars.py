"""The work of the preprocess job as a script for Polars: join, count, filter, remap, one row a request in Parquet.

No random order, no shards, no rejected rows, no report. The fastest of several ways to write it was kept.

    python benchmarks/preprocess_polars.py RAW OUT.parquet
"""

import sys

import polars as pl

from features import names

MIN_COUNT = 20
RESERVED_IDS = 46
FEATURES = {"column_1": "key", "column_3": "features"}
IMPRESSIONS = {
    "column_1": "sample_id",
    "column_2": "click",
    "column_3": "conversion",
    "column_4": "key",
    "column_6": "features",
}


def read(path: str, columns: dict[str, str]) -> pl.LazyFrame:
    width = max(int(name.split("_")[1]) for name in columns)
    schema = {f"column_{i + 1}": pl.String for i in range(width)}
    frame = pl.scan_csv(path, has_header=False, quote_char=None, schema=schema)
    return frame.select(pl.col(name).alias(new) for name, new in columns.items()).with_row_index("row")


def explode(frame: pl.LazyFrame) -> pl.LazyFrame:
    """One row a feature: field, id, weight."""
    parts = pl.col("features").str.replace_all(names.VALUE_SEPARATOR, names.FIELD_SEPARATOR, literal=True)
    entries = frame.select("row", parts.str.split(names.FEATURE_SEPARATOR)).explode("features")
    split = entries.with_columns(pl.col("features").str.split_exact(names.FIELD_SEPARATOR, 2).alias("entry")).unnest(
        "entry"
    )
    return split.select(
        "row",
        pl.col("field_0").cast(pl.Categorical).alias("field"),
        pl.col("field_1").cast(pl.Int64).alias("id"),
        pl.col("field_2").cast(pl.Float32).alias("weight"),
    )


def main(raw: str, out: str) -> None:
    contexts = read(f"{raw}/{names.common_file(names.TRAIN)}", FEATURES).collect()
    impressions = read(f"{raw}/{names.skeleton_file(names.TRAIN)}", IMPRESSIONS).collect()
    context_ids, impression_ids = pl.collect_all([explode(contexts.lazy()), explode(impressions.lazy())])
    contexts, impressions = contexts.drop("features"), impressions.drop("features")
    sizes = impressions.group_by("key").len("impressions").join(contexts, on="key").select("row", "impressions")
    counts = pl.concat(
        [
            context_ids.lazy()
            .join(sizes.lazy(), on="row")
            .group_by("id")
            .agg(pl.col("impressions").sum().cast(pl.Int64)),
            impression_ids.lazy().group_by("id").agg(pl.len().cast(pl.Int64).alias("impressions")),
        ]
    )
    kept = counts.group_by("id").agg(pl.col("impressions").sum()).filter(pl.col("impressions") >= MIN_COUNT)
    vocabulary = kept.sort(["impressions", "id"], descending=[True, False]).with_row_index("new_id", RESERVED_IDS)
    vocabulary = vocabulary.select("id", "new_id").collect().lazy()

    def lists(ids: pl.DataFrame) -> pl.LazyFrame:
        mapped = ids.lazy().join(vocabulary, on="id", maintain_order="left")
        return mapped.group_by("row").agg("field", "new_id", "weight")

    per_impression = impressions.lazy().join(lists(impression_ids), on="row", how="left").drop("row")
    per_request = per_impression.group_by("key").agg(pl.all())
    with_context = contexts.lazy().join(lists(context_ids), on="row", how="left").drop("row")
    per_request.join(with_context, on="key", how="left", suffix="_context").sink_parquet(out, compression="zstd")


if __name__ == "__main__":
    main(*sys.argv[1:])
