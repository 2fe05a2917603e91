"""Writes train.csv and test.csv in the shape of EasyRec's Taobao example: python examples/taobao/generate.py.

The rows are made up; what is like the original is which columns there are and how they look.
"""

from __future__ import annotations

import argparse
import csv
import io
import os

import numpy as np

import storage

USERS, ADS, CATEGORIES, BRANDS = 300, 200, 20, 40


def requests(rng: np.random.Generator, count: int, first: int) -> list[dict[str, str | int]]:
    """Rows of `count` requests of 1 to 8 impressions; clicks depend on user and category, purchases on the price."""
    rows: list[dict[str, str | int]] = []
    for request in range(first, first + count):
        user = profile(int(rng.integers(USERS)), rng)
        for _ in range(int(rng.integers(1, 9))):
            ad = advertisement(int(rng.integers(ADS)))
            liked = (int(user["user_id"]) + int(ad["cate_id"])) % 3 == 0
            click = int(rng.random() < (0.4 if liked else 0.1))
            buy = int(click and rng.random() < (0.4 if float(ad["price"]) < 100 else 0.1))
            row = {"request_id": request, "sample_id": len(rows) + first * 10, "clk": click, "buy": buy}
            rows.append(row | user | ad | {"pid": rng.choice(["430548_1007", "430539_1007"])})
    return rows


def profile(user: int, rng: np.random.Generator) -> dict[str, str | int]:
    """The columns that a request's impressions share."""
    tags = np.unique(rng.integers(CATEGORIES, size=int(rng.integers(0, 6))))
    brands = np.unique(rng.integers(BRANDS, size=int(rng.integers(0, 4))))
    return {
        "user_id": user,
        "cms_segid": user % 97,
        "cms_group_id": user % 13,
        "age_level": user % 7,
        "pvalue_level": ("", "low", "middle", "high")[user % 4],
        "shopping_level": user % 3 + 1,
        "occupation": user % 2,
        "new_user_class_level": ("", "1", "2", "3", "4")[user % 5],
        "tag_category_list": "|".join(map(str, tags)),
        "tag_brand_list": "|".join(f"{brand}:{1 + brand % 3}" for brand in brands),
    }


def advertisement(ad: int) -> dict[str, str | int]:
    """The columns of an ad."""
    return {
        "adgroup_id": ad,
        "cate_id": ad % CATEGORIES,
        "campaign_id": ad // 2,
        "customer": ad // 4,
        "brand": ad % BRANDS,
        "price": f"{5 + (ad * 37 % 400) * 0.75:.2f}",
    }


def write(path: str, rows: list[dict[str, str | int]]) -> None:
    """A CSV file with a header."""
    with storage.writing(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--requests", type=int, default=2000, help="of the train split; test has a quarter")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    os.makedirs(arguments.output_dir, exist_ok=True)
    splits = {"train": (arguments.requests, 0), "test": (arguments.requests // 4, arguments.requests)}
    for split, (count, first) in splits.items():
        write(os.path.join(arguments.output_dir, f"{split}.csv"), requests(rng, count, first))


if __name__ == "__main__":
    main()
