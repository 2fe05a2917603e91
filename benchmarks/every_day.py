"""A model every day against its alternatives, each on the day after it: AUC, calibration, and seconds of training.

python -m benchmarks.every_day --folder=DIR [--days=14] [--requests=5200] [--seeds=1,2,3]

daily      ids and optimizer state go on (--previous_vocabulary, --continue_from)
day alone  from nothing on the day
all days   from nothing on all days so far; at the last day only, since its cost grows with the days
frozen     the vocabulary of day 1, else as daily
warm       the vocabulary of day 1, and weights without optimizer state (--warm_start_from)

Days are made by python -m simulate with drift; the last day is only scored. An interrupted run goes on where it was.
"""

import argparse
import json
import os
import subprocess
import sys
import time

METRICS = ("ctr_auc", "cvr_auc", "ctcvr_auc", "ctr_calibration", "ctcvr_calibration")
DAILY, ALONE, ALL, FROZEN, WARM = METHODS = ("daily", "day alone", "all days", "frozen", "warm")
TRAIN = ["--embedding_size=8", "--deep_layers=64,32", "--learning_rate=0.001", "--batch_size=1024"]


def run(done, *command):
    """Runs a command once; seconds it took."""
    if not os.path.exists(done):
        began = time.time()
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
        os.makedirs(os.path.dirname(done), exist_ok=True)
        with open(done, "w", encoding="utf-8") as file:
            json.dump(time.time() - began, file)
    with open(done, encoding="utf-8") as file:
        return json.load(file)


class World:
    """The days of a seed."""

    def __init__(self, folder, seed, arguments):
        self.folder = os.path.join(folder, f"seed{seed}")
        self.logs = os.path.join(self.folder, "log")
        size = [f"--requests={arguments.requests}", f"--test_requests={arguments.requests // 10}"]
        world = [f"--days={arguments.days}", f"--drift={arguments.drift}", f"--seed={seed}", "--history_scale=0.1"]
        self.flags = [f"--min_count={arguments.min_count}"]
        self.train = TRAIN
        run(self.note("simulate"), "simulate", f"--output_dir={self.logs}", *size, *world, "--overwrite")
        self.days = sorted(os.listdir(self.logs))

    def note(self, name):
        return os.path.join(self.folder, "notes", name.replace(" ", "_"))

    def data(self, method, day, *flags, logs=None):
        """Preprocesses a day (or `logs`) for a method; its folder and seconds."""
        out = os.path.join(self.folder, "data", f"{method}_{day}".replace(" ", "_"))
        source = ",".join(os.path.join(self.logs, name) for name in logs or [day])
        where = [f"--input_dir={source}", f"--output_dir={out}"]
        return out, run(self.note(f"data {method} {day}"), "preprocess", *where, *self.flags, *flags)

    def model(self, method, day, data, *flags):
        """Trains a method's model of a day; its folder and seconds."""
        out = os.path.join(self.folder, "model", f"{method}_{day}".replace(" ", "_"))
        where = [f"--data_dir={data}", f"--model_dir={out}", *self.train, "--eval_impressions=1000"]
        return out, run(self.note(f"model {method} {day}"), "trainer", "--task_type=train", *where, *flags)


def train_all(world):
    """Models and seconds of each method and day, and the daily data."""
    models, seconds, data = {}, {}, {}
    before = {}
    for number, day in enumerate(world.days):
        last_trained = number == len(world.days) - 2
        previous = [f"--previous_vocabulary={before['data']}/vocabulary"] if number else []
        data[day], spent = world.data(DAILY, day, *previous)
        before["data"] = data[day]
        if number == len(world.days) - 1:
            break
        flags = [f"--continue_from={before[DAILY]}"] if number else []
        models[DAILY, day], took = world.model(DAILY, day, data[day], *flags)
        seconds[DAILY, day] = spent + took
        frozen = [f"--vocabulary={data[world.days[0]]}/vocabulary"] if number else []
        frozen_data = world.data(FROZEN, day, *frozen)[0] if number else data[day]
        for method, flag in ((FROZEN, "continue_from"), (WARM, "warm_start_from")):
            flags = [f"--{flag}={before[method]}"] if number else []
            models[method, day], seconds[method, day] = world.model(method, day, frozen_data, *flags)
        before |= {method: models[method, day] for method in (DAILY, FROZEN, WARM)}
        alone, spent = world.data(ALONE, day)
        models[ALONE, day], took = world.model(ALONE, day, alone)
        seconds[ALONE, day] = spent + took
        if last_trained:
            so_far, spent = world.data(ALL, day, logs=world.days[: number + 1])
            models[ALL, day], took = world.model(ALL, day, so_far)
            seconds[ALL, day] = spent + took
    return models, seconds, data


def score(world, model, data):
    """Metrics of a model on all of a day's train split."""
    from trainer import continuation, data_dir, progressive
    from trainer.options import EVAL, Options

    name = f"score {os.path.basename(model)} {os.path.basename(data)}"
    if not os.path.exists(world.note(name)):
        options = Options(task_type=EVAL, data_dir=data, model_dir=model)
        found = progressive.evaluate(options, data_dir.load(data), continuation.find(model), "train", model)
        with open(world.note(name), "w", encoding="utf-8") as file:
            json.dump(found, file)
    with open(world.note(name), encoding="utf-8") as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--requests", type=int, default=5200)
    parser.add_argument("--min_count", type=int, default=5)
    parser.add_argument("--drift", type=float, default=0.05)
    parser.add_argument("--seeds", default="1,2,3")
    arguments = parser.parse_args()
    found = {}
    for seed in arguments.seeds.split(","):
        world = World(arguments.folder, seed, arguments)
        models, seconds, data = train_all(world)
        for (method, day), model in models.items():
            after = world.days[world.days.index(day) + 1]
            result = {**score(world, model, data[after]), "seconds": seconds[method, day]}
            found.setdefault((day, method), []).append(result)
    print_table(found)


def print_table(found):
    """Mean over seeds and half the range, by day and method."""
    shown = (*METRICS, "seconds")
    print(f"{'trained to':12}{'method':12}" + "".join(f"{name:>22}" for name in shown))
    for (day, method), results in found.items():
        cells = []
        for name in shown:
            values = [result[name] for result in results if name in result]
            mean = sum(values) / max(len(values), 1)
            spread = (max(values) - min(values)) / 2 if len(values) > 1 else 0.0
            cells.append(f"{mean:.4f} ± {spread:.4f}" if name != "seconds" else f"{mean:.0f}")
        print(f"{day:12}{method:12}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
