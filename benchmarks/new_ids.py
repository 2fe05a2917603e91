"""What ids are worth that came after the first day: the daily model and the frozen one of every_day.py.

python benchmarks/new_ids.py --folder=DIR [--seeds=1,2] [--day=14]

DIR is that of every_day.py. Both models of a day score the day after it, each with its own vocabulary, and AUCs
are told for all of its impressions, and by how often their item is shown on that day. The simulated log tells each
impression's true probabilities, so AUCs are what they are on average over all draws of clicks and conversions: few rows
do not make them uncertain. Beside them is what the truth itself reaches.
"""

import argparse
import json
import os

import numpy as np
from every_day import DAILY, FROZEN, ONE_THREAD, World, parsed

ITEM = "205"
UNKNOWN = -1
TRUTH = "truth"
TASKS = ("ctr", "cvr", "ctcvr")
# Impressions of an item on the day: from and below.
SHOWN = ((1, 10), (10, 100), (100, 1000), (1000, None))


class Day:
    """The day after a training: its truth and what the models predict for it, in the order of sample_id.

    Args:
        world: of a seed.
        number: of the day that was trained to.
    """

    def __init__(self, world, number):
        self._world = world
        self._trained, self._following = world.days[number - 1], world.days[number]
        ids, self.truth = self._read_truth()
        self.scores, self.items = {}, {}
        for method, first in ((DAILY, self._trained), (FROZEN, world.days[0])):
            rows = self._predictions(method, os.path.join(world.path("data", f"{DAILY} {first}"), "vocabulary"))
            assert (rows["sample_id"] == ids).all()
            self.scores[method] = {task: rows[f"p{task}"] for task in TASKS}
            self.items[method] = rows[ITEM].astype(np.int64)

    def _read_truth(self):
        """sample_id, and of each task (weight, probability): of clicks, conversions of clicks, conversions."""
        rows = _by_sample(os.path.join(self._world.logs, self._following, "truth_train.csv"))
        click, conversion, everywhere = rows["p_click"], rows["p_conversion"], np.ones(len(rows))
        tasks = ((everywhere, click), (click, conversion), (everywhere, click * conversion))
        return rows["sample_id"], dict(zip(TASKS, tasks, strict=True))

    def _predictions(self, method, vocabulary):
        world, name = self._world, f"new ids {method} {self._following}"
        data = world.data(name, [self._following], f"--vocabulary={vocabulary}")
        model = world.path("model", f"{method} {self._trained}")
        out = os.path.join(world.folder, f"{name}.csv".replace(" ", "_"))
        where = [f"--data_dir={data}", f"--model_dir={model}", "--split=train", f"--predictions={out}"]
        world.once(name, out, "trainer", "--task_type=infer", *where, f"--keep_columns={ITEM}", *ONE_THREAD)
        return _by_sample(out)

    def unknown_shares(self, least=0.05):
        """Of the fields whose values the vocabulary of day 1 does not know in so large a share."""
        data = self._world.path("data", f"new ids {FROZEN} {self._following}")
        with open(os.path.join(data, "report", "report.json"), encoding="utf-8") as file:
            fields = json.load(file)["fields"]
        shares = {field: found["splits"]["train"].get("unknown_share", 0) for field, found in fields.items()}
        return {field: share for field, share in shares.items() if share >= least}

    def groups(self):
        """Rows of each group of impressions."""
        items = self.items[DAILY]
        _, place, counts = np.unique(items, return_inverse=True, return_counts=True)
        shown = counts[place]
        found = {"all": np.ones(len(items), bool), "item not known": items == UNKNOWN}
        for low, high in SHOWN:
            within = (items != UNKNOWN) & (shown >= low) & (shown < (high or np.inf))
            found[f"item shown {low} to {high - 1} times" if high else f"item shown {low} times or more"] = within
        return {name: rows for name, rows in found.items() if rows.any()}

    def aucs(self, rows):
        """Of each task and method on some of the rows."""
        found = {}
        for task, (weight, probability) in self.truth.items():
            scores = {**{method: own[task] for method, own in self.scores.items()}, TRUTH: probability}
            for method, score in scores.items():
                found[task, method] = mean_auc(score[rows], weight[rows], probability[rows])
        return found


def _by_sample(path):
    rows = np.genfromtxt(path, delimiter=",", names=True, deletechars="")
    return rows[np.argsort(rows["sample_id"])]


def mean_auc(score, weight, probability):
    """AUC where row i counts as weight·p positives and weight·(1 - p) negatives; equal scores count half."""
    _, place = np.unique(score, return_inverse=True)
    positive = np.bincount(place, weight * probability)
    negative = np.bincount(place, weight * (1 - probability))
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def print_day(seed, day):
    """A line for each group."""
    shares = ", ".join(f"{field} {share:.1%}" for field, share in day.unknown_shares().items())
    print(f"seed {seed}: values that the vocabulary of day 1 does not know: {shares}")
    print(f"  {'impressions':28}{'share':>7}" + "".join(f"{f'{task}: daily, frozen, truth':>30}" for task in TASKS))
    for group, rows in day.groups().items():
        found = day.aucs(rows)
        cells = ("  ".join(f"{found[task, method]:.4f}" for method in (DAILY, FROZEN, TRUTH)) for task in TASKS)
        print(f"  {group:28}{rows.mean():7.1%}" + "".join(f"{cell:>30}" for cell in cells))


def main():
    """Scores what is not scored yet, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--day", type=int, default=14)
    arguments = parser.parse_args()
    for seed in arguments.seeds.split(","):
        world = World(arguments.folder, seed, parsed(["--folder", arguments.folder]))
        print_day(seed, Day(world, arguments.day))


if __name__ == "__main__":
    main()
