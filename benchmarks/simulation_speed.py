"""Speed, size and memory of the simulator, at one size and at ten times that.

    python benchmarks/simulation_speed.py [--requests=8000] [--test_requests=2000]

Prints impressions per second and core, raw bytes per impression, peak memory of both sizes and their ratio, and how
rates, selection bias and oracle AUCs compare with what they should be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

EXPECTED_AUCS = {"ctr": 0.637, "cvr": 0.732, "ctcvr": 0.797}
GROWTH = 10


def simulate(directory, requests, test_requests):
    """Runs the command; returns its report, seconds of wall clock and of CPU, and peak bytes of memory."""
    command = [sys.executable, "-m", "simulate", f"--output_dir={directory}", "--seed=1"]
    command += [f"--requests={requests}", f"--test_requests={test_requests}"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed with status {status}")
    with open(os.path.join(directory, "simulation.json"), encoding="utf-8") as file:
        report = json.load(file)
    return report, time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def describe(report, seconds, cpu_seconds, peak):
    splits = report["splits"]
    impressions = sum(split["impressions"] for split in splits.values())
    size = sum(split["skeleton_bytes"] + split["common_bytes"] for split in splits.values())
    train = splits["train"]
    print(f"{impressions} impressions in {seconds:.1f} s, {cpu_seconds:.1f} s of CPU, start included")
    print(f"  {impressions / cpu_seconds:.0f} impressions/s and core, {size / cpu_seconds / 1e6:.1f} MB/s and core")
    print(f"  {size / impressions:.0f} bytes per impression, peak memory {peak / 1e6:.0f} MB")
    for name, key in (("click rate", "click_rate"), ("conversion rate", "conversion_rate")):
        print(f"  {name} {train[key]:.5f}, asked for {report['parameters'][key]}")
    print(
        f"  bias ratio {train['bias_ratio']:.4f}, closed form {report.get('closed_form_bias_ratio', 'does not hold')}"
    )
    for name, expected in EXPECTED_AUCS.items():
        print(f"  oracle AUC of {name} {train['oracle_auc'][name]:.4f}, expected {expected}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=8000, help="of the train split, at the smaller size")
    parser.add_argument("--test_requests", type=int, default=2000, help="of the test split, at the smaller size")
    arguments = parser.parse_args()
    peaks = []
    for factor in (1, GROWTH):
        with tempfile.TemporaryDirectory() as directory:
            results = simulate(directory, factor * arguments.requests, factor * arguments.test_requests)
        describe(*results)
        peaks.append(results[3])
    print(f"peak memory at {GROWTH} times the size: {peaks[1] / peaks[0]:.2f} times")


if __name__ == "__main__":
    main()
