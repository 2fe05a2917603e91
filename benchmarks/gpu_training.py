"""Training on a GPU: speed by batch size, what the input pipeline leaves of it, and the same losses as on the CPU.

python benchmarks/gpu_training.py --folder=DIR                   makes its data, trains, prints; some ten minutes
python benchmarks/gpu_training.py --folder=DIR --prepare         makes the data in DIR/data and ends
python benchmarks/gpu_training.py --folder=DIR --data_dir=OUT    takes data that are there

Only --prepare runs the preprocess job, so that the machine with the GPU needs neither Beam nor pyarrow. Each training
is the command `python -m trainer` with the recommended recipe, in a process of its own. The lines:

losses    for the recipe and each of its variations (--variations): a model is trained for one step on the CPU, and goes
          on from that checkpoint for 200 steps on the same batches: on the CPU, on the GPU without TensorFloat-32, and
          on the CPU without oneDNN. Each adds up in an order of its own, and training magnifies a last digit, so the
          third is the ruler: after how many steps does a loss differ, and by how much at most.
          Adagrad's accumulators begin at 0.1 here: with the recipe's 1e-7 a row's first step is full size whatever its
          gradient, so that the last digit of a gradient near zero decides about the sign of a step, on any device
speed     impressions/s (median of the lines that training prints), on the GPU with the table there, with the table in
          the host's memory, and on the CPU; the GPU's utilization and memory meanwhile, by nvidia-smi
costs     of each variation, impressions/s on the GPU at the second batch size, beside the recipe's, in turn
input     impressions/s of the input pipeline alone, and the training's part of that: near 1, the GPU waits for it
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECIPE = "--flagfile=configs/recommended.flags"
# No GPU is seen, or no matrix product is rounded to 10 bits.
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1"}
EXACT = {"NVIDIA_TF32_OVERRIDE": "0"}
OTHER_SUMS = ON_CPU | {"TF_ENABLE_ONEDNN_OPTS": "0"}
EQUAL_STEPS, EQUAL = 20, 2e-5
PLAIN = "recipe"
VARIATIONS = {
    PLAIN: [],
    "escm2_dr": ["--model=escm2_dr"],
    "dcn": ["--backbone=dcn"],
    "attention": ["--attention=109_14:206,110_14:207,127_14:216"],
    "mmoe": ["--backbone=mmoe"],
    "bfloat16": ["--precision=bfloat16"],
    "wide": ["--deep_layers=1024,512,256"],
    "wide, bfloat16": ["--deep_layers=1024,512,256", "--precision=bfloat16"],
}


class Smi:
    """The GPU's utilization in percent and its memory in MiB, asked for once a second while the block runs."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Smi:
        if shutil.which("nvidia-smi"):
            query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "--loop=1"]
            self._process = subprocess.Popen(["nvidia-smi", *query], stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if numbers := re.fullmatch(r"(\d+), (\d+)\s*", line):
                self._found.append((float(numbers[1]), float(numbers[2])))

    def text(self) -> str:
        """Median utilization of the seconds in which the GPU did something, and the largest memory."""
        busy = [share for share, _ in self._found if share]
        if not busy:
            return "utilization unknown"
        return f"utilization {statistics.median(busy):.0f} %, {max(memory for _, memory in self._found):,.0f} MiB"


def run_trainer(data: str, model: str, flags: list[str], environment: dict[str, str]) -> str:
    """What `python -m trainer` printed."""
    command = [sys.executable, "-m", "trainer", RECIPE, f"--data_dir={data}", f"--model_dir={model}"]
    command += ["--num_epochs=100000", "--eval_splits=", "--decay=none", *flags]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def numbers_before(word: str, printed: str) -> list[float]:
    """The numbers that stand before a word."""
    return [float(number.replace(",", "")) for number in re.findall(rf"([\d,]+) {word}", printed)]


def losses(data: str, folder: str, steps: int, variations: list[str]) -> None:
    """Prints how far the losses of CPU and GPU are from each other; all side by side, since nothing is timed here."""
    # Rounded to 8 bits of mantissa, sums in another order are other numbers: there is nothing to compare.
    exact = [name for name in variations if "bfloat16" not in name]
    with futures.ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)) // 2)) as pool:
        for line in pool.map(lambda name: losses_line(data, os.path.join(folder, name), steps, name), exact):
            print(line, flush=True)


def losses_line(data: str, folder: str, steps: int, variation: str) -> str:
    """Of one variation."""
    flags = ["--num_threads=1", "--log_steps=1", "--initial_accumulator=0.1", *VARIATIONS[variation]]
    begun = os.path.join(folder, "begun")
    run_trainer(data, begun, [*flags, "--max_steps=1"], ON_CPU)

    def losses_of(name: str, environment: dict[str, str]) -> list[float]:
        model = os.path.join(folder, name)
        shutil.copytree(begun, model)
        printed = run_trainer(data, model, [*flags, f"--max_steps={steps + 1}"], environment)
        return [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]

    on_gpu = EXACT | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    with futures.ThreadPoolExecutor() as pool:
        cpu, gpu, ruler = pool.map(losses_of, ("cpu", "gpu", "ruler"), (ON_CPU, on_gpu, OTHER_SUMS))
    verdict = "equal" if steps_alike(cpu, gpu) >= min(EQUAL_STEPS, len(cpu)) else "NOT equal"
    return (
        f"losses, {variation}: {verdict}; CPU and GPU the same for {steps_alike(cpu, gpu)} of {len(cpu)} steps, "
        f"then at most {apart(cpu, gpu):.5f} apart; the CPU and itself without oneDNN for {steps_alike(cpu, ruler)}, "
        f"at most {apart(cpu, ruler):.5f}"
    )


def steps_alike(ours: list[float], others: list[float]) -> int:
    """Steps until two losses differ by more than their last printed digit."""
    differing = (step for step, (a, b) in enumerate(zip(ours, others, strict=True)) if abs(a - b) > EQUAL)
    return next(differing, len(ours))


def apart(ours: list[float], others: list[float]) -> float:
    """Largest difference between the losses of two runs."""
    return max(abs(a - b) for a, b in zip(ours, others, strict=True))


def costs(data: str, folder: str, arguments: argparse.Namespace) -> None:
    """Prints the speed of each variation, and its part of the recipe's, which is measured before and behind them."""
    size = arguments.batch_sizes[min(1, len(arguments.batch_sizes) - 1)]

    def found(name: str) -> float:
        return speed(data, folder, size, arguments.impressions, VARIATIONS[name], cpu=False)[0]

    before = found(PLAIN)
    speeds_found = {name: found(name) for name in arguments.variations if name != PLAIN}
    plain = statistics.mean([before, found(PLAIN)])
    print(f"on the GPU, batch {size}: {PLAIN} {plain:,.0f} impressions/s", flush=True)
    for name, one in speeds_found.items():
        print(f"  {name:<16}{one:>12,.0f} impressions/s, {one / plain:.2f} of the recipe's", flush=True)


def speed(data: str, folder: str, batch_size: int, impressions: int, flags: list[str], cpu: bool) -> tuple[float, str]:
    """Impressions/s of a training, and what nvidia-smi said."""
    steps = max(60, impressions // batch_size)
    flags = [f"--batch_size={batch_size}", f"--max_steps={steps}", f"--log_steps={steps // 12}", *flags]
    model = os.path.join(folder, f"speed-{time.monotonic_ns()}")
    with Smi() as smi:
        printed = run_trainer(data, model, flags, ON_CPU if cpu else {})
    shutil.rmtree(model)
    return statistics.median(numbers_before("impressions/s", printed)[2:]), "" if cpu else smi.text()


def input_speeds(data: str, batch_sizes: list[int], seconds: float) -> list[float]:
    """Impressions/s of the input pipeline alone at each batch size, with the lookups that it makes for training."""
    code = f"import gpu_training; gpu_training.print_input_speeds({data!r}, {batch_sizes}, {seconds})"
    folder = os.path.join(REPOSITORY, "benchmarks")
    path = os.pathsep.join([REPOSITORY, folder, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | ON_CPU | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the input pipeline ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return numbers_before("impressions/s", done.stdout)


def print_input_speeds(path: str, batch_sizes: list[int], seconds: float) -> None:
    """Measures in this process, which shall see no GPU."""
    import tensorflow as tf

    from features import names
    from input_fn import dataset
    from input_fn.options import InputOptions
    from model_fn import lookup
    from trainer import data_dir

    data = data_dir.load(path)
    for batch_size in batch_sizes:
        made = dataset.make_dataset(
            data.records(names.TRAIN),
            data.schema,
            data.vocabulary.size,
            InputOptions(batch_size=batch_size, seed=1, num_epochs=100_000),
            lambda features: lookup.in_place_of_fields(features, data.schema, "sum"),
        )
        counts = made.map(lambda _, labels: tf.size(labels[names.CLICK].values)).as_numpy_iterator()
        for _ in range(10):
            next(counts)
        print(f"{_rate(counts, seconds):.0f} impressions/s")


def _rate(counts: Iterator[int], seconds: float) -> float:
    begin, impressions = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        impressions += int(next(counts))
    return impressions / (time.perf_counter() - begin)


def speeds(data: str, folder: str, arguments: argparse.Namespace) -> None:
    """Prints a line for each batch size and place of the table."""
    print(f"{'batch':>7}  {'table':<6}{'impressions/s':>14}{'input alone':>13}{'part of it':>12}", flush=True)
    inputs = input_speeds(data, arguments.batch_sizes, arguments.seconds)
    for batch_size, alone in zip(arguments.batch_sizes, inputs, strict=True):
        ways = {"gpu": ["--embedding_device=gpu"]}
        # With large batches the input is all there is to wait for, wherever the table lies.
        if batch_size == arguments.batch_sizes[0]:
            ways["cpu"] = ["--embedding_device=cpu"]
        for place, flags in ways.items():
            found, text = speed(data, folder, batch_size, arguments.impressions, flags, cpu=False)
            print(
                f"{batch_size:>7}  {place:<6}{found:>14,.0f}{alone:>13,.0f}{found / alone:>12.2f}  {text}", flush=True
            )
    found, _ = speed(data, folder, arguments.batch_sizes[0], arguments.impressions // 2, [], cpu=True)
    print(f"{arguments.batch_sizes[0]:>7}  all on the CPU: {found:,.0f} impressions/s", flush=True)


def prepare(folder: str, requests: int) -> str:
    """Path of records at full width; made where they are not there yet."""
    log, out = os.path.join(folder, "log"), os.path.join(folder, "data")
    if not os.path.exists(os.path.join(out, "_SUCCESS")):
        simulate = ["simulate", f"--output_dir={log}", f"--requests={requests}", "--test_requests=20", "--overwrite"]
        preprocess = ["preprocess", f"--input_dir={log}", f"--output_dir={out}"]
        for command in (simulate, preprocess):
            subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="for data and models")
    parser.add_argument("--data_dir", default="", help="what python -m preprocess made; empty: made here")
    parser.add_argument("--prepare", action="store_true", help="make the data and end")
    parser.add_argument("--requests", type=int, default=4000, help="of the data that are made, 58 impressions each")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1024, 4096, 8192])
    parser.add_argument("--impressions", type=int, default=1_500_000, help="of each training")
    parser.add_argument("--steps", type=int, default=200, help="whose losses are compared")
    parser.add_argument("--variations", nargs="+", choices=VARIATIONS, default=list(VARIATIONS))
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement of the input pipeline")
    arguments = parser.parse_args()
    folder = os.path.abspath(arguments.folder)
    os.makedirs(folder, exist_ok=True)
    data = os.path.abspath(arguments.data_dir) if arguments.data_dir else prepare(folder, arguments.requests)
    if arguments.prepare:
        return
    models = os.path.join(folder, f"models-{os.getpid()}")
    os.makedirs(models)
    losses(data, models, arguments.steps, arguments.variations)
    speeds(data, models, arguments)
    costs(data, models, arguments)
    shutil.rmtree(models)


if __name__ == "__main__":
    main()
