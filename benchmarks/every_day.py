"""A model every day against its alternatives, each on the day after it: AUC, calibration, and the CPU time of a day.

python benchmarks/every_day.py --folder=DIR [--days=14] [--requests=5600] [--seeds=1,2,3] [--compared=4,7,10,14]
python benchmarks/every_day.py --folder=DIR --report_only [--picture=FILE.png]
python benchmarks/every_day.py --folder=DIR --timed=14 --seeds=1

daily      ids and optimizer state go on (--previous_vocabulary, --continue_from)
day alone  from nothing on the day
all days   from nothing on all days so far
frozen     the vocabulary of day 1, else as daily
warm       the vocabulary of day 1, and weights without optimizer state (--warm_start_from)
decay=X    as daily, with --accumulator_decay=X; one for each of --accumulator_decays

Days are made by python -m simulate with drift. The models from nothing are made on the days of --compared only, since
the cost of all days grows with them, and there all are scored. Every step is a public command with one thread, run once
and noted in DIR: an interrupted run goes on where it was, and --report_only prints what is there so far.

--timed does the work of one day again, by each method, and prints its CPU seconds; DIR must hold a run of the days
before it, and the machine should do nothing else. As in python -m daily, steps are forked from a process that has
loaded Beam and TensorFlow: what that takes is paid once by a run, whatever the method, and printed beside.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

import pipeline

METRICS = ("ctr_auc", "cvr_auc", "ctcvr_auc", "ctr_calibration", "ctcvr_calibration")
DAILY, ALONE, ALL, FROZEN, WARM = METHODS = ("daily", "day alone", "all days", "frozen", "warm")
TRAIN = ["--flagfile=configs/recommended.flags", "--embedding_size=8", "--deep_layers=64,32"]
ONE_THREAD = ["--num_threads=1"]
ONE_WORKER = ["--direct_num_workers=1", "--direct_running_mode=in_memory"]


def forked(*command):
    """CPU seconds of a command."""
    return pipeline.run_forked(*command).cpu_seconds


class World:
    """The days of a seed, and what was made of them."""

    def __init__(self, folder, seed, arguments):
        self.folder = os.path.join(os.path.abspath(folder), f"seed{seed}")
        self.logs = os.path.join(self.folder, "log")
        self.seed = seed
        self.words = [f"--min_count={arguments.min_count}", "--splits=train", *ONE_WORKER]
        size = [f"--requests={arguments.requests}", "--test_requests=0"]
        # A day more than is trained on: the last one is only scored.
        world = [f"--days={arguments.days + 1}", f"--drift={arguments.drift}", f"--seed={seed}", "--history_scale=0.05"]
        self.once("simulate", self.logs, "simulate", f"--output_dir={self.logs}", *size, *world)
        self.days = sorted(name for name in os.listdir(self.logs) if name[:1].isdigit())

    def noted(self, name, make):
        """What `make` returned when it was first called for the name."""
        path = os.path.join(self.folder, "notes", name.replace(" ", "_"))
        if not os.path.exists(path):
            found = make()
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".tmp", "w", encoding="utf-8") as file:
                json.dump(found, file)
            os.replace(path + ".tmp", path)
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def once(self, name, out, *command):
        """Runs a command whose output is a folder, if it was not run; what an interrupted one left goes first."""

        def make():
            shutil.rmtree(out, ignore_errors=True)
            return forked(*command)

        self.noted(name, make)

    def path(self, kind, name):
        """Of data or a model."""
        return os.path.join(self.folder, kind, name.replace(" ", "_"))

    def preprocessing(self, out, logs, *flags):
        """The command that preprocesses days."""
        source = ",".join(os.path.join(self.logs, day) for day in logs)
        return ["preprocess", f"--input_dir={source}", f"--output_dir={out}", *self.words, *flags]

    def training(self, out, data, *flags):
        """The command that trains a model."""
        where = ["--task_type=train", f"--data_dir={data}", f"--model_dir={out}", "--eval_splits="]
        return ["trainer", *where, *TRAIN, *ONE_THREAD, f"--seed={self.seed}", *flags]

    def data(self, name, logs, *flags):
        """Preprocesses days; the folder."""
        out = self.path("data", name)
        self.once(f"data {name}", out, *self.preprocessing(out, logs, *flags))
        return out

    def model(self, name, data, *flags):
        """Trains a model; the folder."""
        out = self.path("model", name)
        self.once(f"model {name}", out, *self.training(out, data, *flags))
        return out

    def score(self, name, model, data):
        """Metrics of a model on the train split of a day."""
        return self.noted(f"score {name}", lambda: _evaluate(model, data))


def _evaluate(model, data):
    from model_fn import quiet_tensorflow

    quiet_tensorflow.import_quietly()
    from trainer import continuation, data_dir, progressive
    from trainer.options import EVAL, Options

    options = Options(task_type=EVAL, data_dir=data, model_dir=model, num_threads=1)
    found = progressive.evaluate(options, data_dir.load(data), continuation.find(model), "train", model)
    shutil.rmtree(os.path.join(model, "eval_progressive"), ignore_errors=True)
    return found


class Race:
    """The methods on a world, day by day."""

    def __init__(self, world, arguments):
        self.world = world
        self.compared = {int(number) for number in arguments.compared.split(",") if number}
        self.decays = {f"decay={decay}": decay for decay in arguments.accumulator_decays.split(",") if decay}
        self.models = {}
        self.first_data = self.yesterday = None

    def run(self):
        """Trains and scores; all is noted in the world's folder."""
        world = self.world
        today = self.first_data = world.data(f"{DAILY} {world.days[0]}", world.days[:1])
        for number, day in enumerate(world.days[:-1]):
            following = world.days[number + 1]
            tomorrow = world.data(f"{DAILY} {following}", [following], f"--previous_vocabulary={today}/vocabulary")
            self._going_on(number, day, today, tomorrow)
            self._from_nothing(number, day, tomorrow)
            today = tomorrow

    def _going_on(self, number, day, today, tomorrow):
        frozen = today
        if number:
            frozen = self.world.data(f"{FROZEN} {day}", [day], f"--vocabulary={self.first_data}/vocabulary")
        for method, data, flag in (
            (DAILY, today, "--continue_from={}"),
            (FROZEN, frozen, "--continue_from={}"),
            (WARM, frozen, "--warm_start_from={}"),
            *((name, today, "--continue_from={} --accumulator_decay=" + x) for name, x in self.decays.items()),
        ):
            # All have the same first day.
            name = f"{method} {day}" if number else f"{DAILY} {day}"
            flags = flag.format(self.models[method]).split() if number else []
            self.models[method] = self.world.model(name, data, *flags)
            self._score(method, number, self.models[method], tomorrow)

    def _from_nothing(self, number, day, tomorrow):
        for method, logs in ((ALONE, [day]), (ALL, self.world.days[: number + 1])):
            if number and number + 1 in self.compared:
                data = self.world.data(f"{method} {day}", logs)
                model = self.world.model(f"{method} {day}", data)
                after = self.world.days[number + 1]
                if method == ALL:
                    # The daily vocabulary has let some ids fade that this model has.
                    known = f"--vocabulary={data}/vocabulary"
                    tomorrow = self.world.data(f"{method} next {after}", [after], known)
                self._score(method, number, model, tomorrow)

    def _score(self, method, number, model, data):
        if number + 1 not in self.compared:
            return
        result = self.world.score(f"{method} {self.world.days[number]}", model, data)
        self.world.noted(f"result {number + 1:02} {method}", lambda: result)


def timed(world, number):
    """CPU seconds of preprocessing and training a day by each method; what they make is not kept."""
    before, day = world.days[number - 2 : number]
    first = world.path("data", f"{DAILY} {world.days[0]}")
    frozen = f"--vocabulary={first}/vocabulary"
    carried = f"--previous_vocabulary={world.path('data', f'{DAILY} {before}')}/vocabulary"
    ways = {
        DAILY: ([day], [carried], [f"--continue_from={world.path('model', f'{DAILY} {before}')}"]),
        ALL: (world.days[:number], [], []),
        ALONE: ([day], [], []),
        FROZEN: ([day], [frozen], [f"--continue_from={world.path('model', f'{FROZEN} {before}')}"]),
        WARM: ([day], [frozen], [f"--warm_start_from={world.path('model', f'{WARM} {before}')}"]),
    }
    with tempfile.TemporaryDirectory(dir=world.folder) as folder:
        for method, (logs, vocabulary, start) in ways.items():
            data, model = (os.path.join(folder, kind, method.replace(" ", "_")) for kind in ("data", "model"))
            steps = world.preprocessing(data, logs, *vocabulary), world.training(model, data, *start)
            yield method, [forked(*step) for step in steps]


def print_times(world, number):
    """A line for each method."""
    print(f"seed {world.seed}, CPU seconds of day {number}{'preprocess':>14}{'train':>8}{'both':>8}  of {ALL}")
    found = dict(timed(world, number))
    whole = sum(found[ALL])
    for method, (prepared, trained) in found.items():
        both = prepared + trained
        print(f"  {method:30}{prepared:14.1f}{trained:8.1f}{both:8.1f}{both / whole:8.2f}")
    print(f"  {'once a run: loading':30}{loading():30.1f}")


def loading():
    """CPU seconds of a process that loads what the steps fork from."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", "import daily.loaded"], cwd=pipeline.REPOSITORY, check=True, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def results(folder):
    """What is there: {(day's number, method): {seed: metrics}}."""
    found = {}
    for seed in sorted(name for name in os.listdir(folder) if name.startswith("seed")):
        notes = os.path.join(folder, seed, "notes")
        for name in sorted(os.listdir(notes)):
            if name.startswith("result_") and not name.endswith(".tmp"):
                number, method = name.removeprefix("result_").split("_", 1)
                with open(os.path.join(notes, name), encoding="utf-8") as file:
                    found.setdefault((int(number), method.replace("_", " ")), {})[seed] = json.load(file)
    return found


def print_table(found):
    """Mean over seeds and half the range, by day and method."""
    print(f"{'trained to day':15}{'method':12}{'seeds':>6}" + "".join(f"{name:>20}" for name in METRICS))
    for (number, method), by_seed in sorted(found.items()):
        cells = [_cell([result[name] for result in by_seed.values() if name in result]) for name in METRICS]
        print(f"{number:<15}{method:12}{len(by_seed):>6}" + "".join(f"{cell:>20}" for cell in cells))


def print_differences(found):
    """Daily less each other method, seed by seed: mean over days and seeds, and how far single days lie apart."""
    print("\ndaily less the other, on the same days and seeds: mean and standard error over them (days from 4 on)")
    for method in sorted({method for _, method in found} - {DAILY}):
        cells = []
        for metric in METRICS[:3]:
            values = [
                found[number, DAILY][seed][metric] - result[metric]
                for (number, other), by_seed in found.items()
                for seed, result in by_seed.items()
                if other == method and number >= 4 and seed in found.get((number, DAILY), {})
            ]
            if len(values) > 1:
                mean = sum(values) / len(values)
                error = (sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)) ** 0.5
                cells.append(f"{metric} {mean:+.4f} ± {error:.4f} ({len(values)})")
        print(f"  {method:12}" + "   ".join(cells))


def _cell(values):
    if not values:
        return "–"
    spread = (max(values) - min(values)) / 2
    return f"{sum(values) / len(values):.4f} ± {spread:.4f}"


def draw(found, path):
    """Three AUCs over days, a line a method: the mean over seeds, between the lowest and the highest.

    Seeds differ more than methods, so a mean of other seeds than the daily model's is no line.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4))
    for axis, metric in zip(axes, METRICS[:3], strict=True):
        for method in dict.fromkeys(method for _, method in found):
            if any(
                other == method and len(by_seed) < len(found[day, DAILY]) for (day, other), by_seed in found.items()
            ):
                continue
            days = sorted(number for number, other in found if other == method)
            values = [[result[metric] for result in found[number, method].values()] for number in days]
            means = [sum(each) / len(each) for each in values]
            (line,) = axis.plot(days, means, marker="o", markersize=3, label=method)
            axis.fill_between(days, list(map(min, values)), list(map(max, values)), alpha=0.15, color=line.get_color())
        axis.set_xlabel("trained to day")
        axis.set_title(f"{metric} on the next day")
    figure.tight_layout()
    # Above the pictures, so that it lies over no line.
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(labels))
    figure.savefig(path, dpi=80, bbox_inches="tight")


def parsed(words=None):
    """Flags of the command, or of these words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--requests", type=int, default=5600, help="of a mean day, about 58 impressions each")
    parser.add_argument("--min_count", type=int, default=5)
    parser.add_argument("--drift", type=float, default=0.05)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--compared", default="4,7,10,14", help="numbers of days")
    parser.add_argument("--accumulator_decays", default="")
    parser.add_argument("--report_only", action="store_true")
    parser.add_argument("--timed", type=int, default=0, help="number of the day")
    parser.add_argument("--picture", help="file to draw")
    return parser.parse_args(words)


def main():
    """Runs what is not there yet, and prints it; or times a day."""
    arguments = parsed()
    for seed in [] if arguments.report_only else arguments.seeds.split(","):
        world = World(arguments.folder, seed, arguments)
        if arguments.timed:
            print_times(world, arguments.timed)
        else:
            Race(world, arguments).run()
    if arguments.timed:
        return
    found = results(arguments.folder)
    print_table(found)
    print_differences(found)
    if arguments.picture:
        draw(found, arguments.picture)


if __name__ == "__main__":
    main()
