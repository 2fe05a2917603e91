"""Writes a shop's log as its owner might have it, 30 columns: python examples/own_table/generate.py --output_dir=DIR.

The rows are made up. What is like a real one: words, numbers, lists and a vector side by side, three spellings of "no
value", a column that is filled after the purchase only, and one that never changes.
"""

from __future__ import annotations

import argparse
import csv
import io
import os

import numpy as np

import storage

USERS, ITEMS = 400, 300
CITIES = ("Lyon", "Porto", "Gent", "Turku", "Graz")
DEVICES = ("phone", "tablet", "desktop")
WORDS = ("red", "wool", "scarf", "summer", "linen", "shirt", "kids", "boots", "rain", "blue", "light", "warm")
TAGS = ("new", "sale", "eco", "last", "gift")

Row = dict[str, str | int | float]


def rows(rng: np.random.Generator, searches: int) -> list[Row]:
    """Rows of searches of 1 to 9 items; clicks depend on category and city, purchases on the price."""
    found: list[Row] = []
    for search in range(searches):
        user = shopper(int(rng.integers(USERS)))
        asked = {
            "search_id": f"s{search:06d}",
            "event_time": f"2026-01-{1 + search * 14 // searches:02d} 10:{search % 60:02d}:00",
        }
        for position in range(1, int(rng.integers(2, 10))):
            item = article(int(rng.integers(ITEMS)))
            liked = (int(item["category"]) + len(str(user["city"]))) % 3 == 0
            click = int(rng.random() < (0.45 if liked else 0.12))
            bought = int(click and rng.random() < (0.4 if float(item["price"]) < 60 else 0.12))
            seen = {"position": position, "currency": "EUR", "clicked": click, "purchased": bought}
            paid = {"revenue": item["price"] if bought else ""}
            found.append({**asked, **user, **item, **seen, **paid})
    return found


def shopper(user: int) -> Row:
    """The columns that a search's items share."""
    categories = sorted({user % 12, user * 7 % 12, user * 5 % 11})
    return {
        "user_id": user * 31 + 5,
        "age": ("", user % 60 + 18)[user % 9 > 0],
        "gender": ("f", "m", "NULL")[user % 3],
        "city": CITIES[user % 5],
        "device": DEVICES[user % 3],
        "member_days": user * 13 % 2000,
        "mean_basket": f"{(user * 37 % 900) / 7:.2f}",
        "past_categories": "|".join(map(str, categories)),
        "past_brands": "|".join(f"b{c % 7}:{1 + c % 3 / 2}" for c in categories),
        "newsletter": ("yes", "no")[user % 2],
        "loyalty_level": ("-1", "1", "2", "3")[user % 4],
    }


def article(item: int) -> Row:
    """The columns of an item."""
    words = [WORDS[(item * k + k) % len(WORDS)] for k in (1, 2, 3)]
    return {
        "item_id": item + 100_000,
        "category": item % 12,
        "brand": f"b{item % 40}",
        "seller": f"{item % 50:05d}",
        "price": f"{4 + (item * 53 % 1200) * 0.1:.2f}",
        "rating": f"{1 + item % 41 / 10:.1f}",
        "ratings_count": item * item % 3000,
        "discount": f"{item % 5 / 10}",
        "title": " ".join(dict.fromkeys(words)),
        "tags": ";".join(TAGS[: 1 + item % 4]),
        "picture": ";".join(f"{np.sin(item * (k + 1)):.4f}" for k in range(8)),
        "shipping_days": item % 6,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--searches", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.makedirs(arguments.output_dir, exist_ok=True)
    path = os.path.join(arguments.output_dir, "shop.csv")
    made = rows(np.random.default_rng(arguments.seed), arguments.searches)
    with storage.writing(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, fieldnames=list(made[0]))
        writer.writeheader()
        writer.writerows(made)


if __name__ == "__main__":
    main()
