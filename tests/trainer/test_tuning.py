"""--task_type=tune: what it refuses, and a search by command that is killed and goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from record_examples import small_schema, write_data_dir

from model_fn.hyperparameters import Hyperparameters
from trainer.options import TUNE, Options
from trainer.tuning import space, tuning
from trainer.tuning.space import SearchError


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "settings are needed"),
        ("[", "while parsing"),
        ("learning_rat: [1]", "learning_rat is no setting that can be searched; these are model, backbone"),
        ("data_dir: [a]", "data_dir is no setting that can be searched"),
        ("learning_rate: 3", "learning_rate: 3: a list of choices is needed, or low and high"),
        ("learning_rate: {low: 1, high: 2, logarithmic: true}", "a list of choices is needed"),
        ("learning_rate: {low: 0.1, high: 0.01}", "low must be less than high"),
        ("learning_rate: {low: 0, high: 0.01, log: true}", "low must be more than 0"),
        ("learning_rate: {low: a, high: 0.01}", "could not convert string to float"),
        ("model: {low: 1, high: 2}", "model is no number: give a list of choices"),
        ("batch_norm: {low: 0, high: 1}", "batch_norm is no number"),
        ("model: [esm]", "model 'esm': allowed are esmm"),
        ("embedding_size: [0]", "embedding_size 0: allowed is more than 0"),
        ("dropout: ['0.1,0.2,0.3']", "one rate for each of deep_layers"),
        ("ctr_task_wgt: {low: 0.1, high: 1.5}", "ctr_task_wgt 1.5: allowed is 0 to 1"),
    ],
)
def test_a_file_that_cannot_be_searched_is_refused_in_a_line(text, problem, tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(SearchError, match=re.escape("--search=") + f".*{re.escape(problem)}") as refused:
        space.check(space.read(str(path)), str(path), Hyperparameters())
    assert "\n" not in str(refused.value)


def test_numbers_come_in_the_type_of_their_setting(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("learning_rate: {low: 1e-4, high: 1e-2, log: true}\nbatch_size: {low: 64, high: 256, step: 64}\n")
    found = space.read(str(path))
    assert (found["learning_rate"].low, found["learning_rate"].log) == (1e-4, True)
    assert (found["batch_size"].high, found["batch_size"].step) == (256, 64)


def test_a_setting_is_searched_or_given(tmp_path):
    (tmp_path / "search.yaml").write_text("learning_rate: [0.1]")
    options = Options(TUNE, "data", str(tmp_path / "m"), search=str(tmp_path / "search.yaml"))
    with pytest.raises(SearchError, match="learning_rate: given as a flag as well"):
        tuning.tune(options, Hyperparameters(), ["--learning_rate=0.2"])
    assert not (tmp_path / "m").exists()


def command(data, folder, trials, *more):
    flags = (f"--data_dir={data}", f"--model_dir={folder}", f"--search={folder}.yaml", f"--trials={trials}")
    fixed = ("--batch_size=32", "--deep_layers=8", "--num_threads=1", *more)
    line = [sys.executable, "-m", "trainer", "--task_type=tune", *flags, *fixed]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    printed, errors = process.communicate(timeout=300)
    return process.returncode, printed, errors


@pytest.mark.chains
def test_a_search_that_is_stopped_goes_on_and_ends_in_a_report(tmp_path):
    data, folder = str(tmp_path / "data"), str(tmp_path / "search")
    write_data_dir(data, small_schema(), train=60, test=60)
    rate = "learning_rate: {low: 1e-3, high: 1e-1, log: true}"
    (tmp_path / "search.yaml").write_text(f"embedding_size: {{low: 2, high: 6}}\n{rate}\nmodel: [esmm, escm2_dr]\n")
    first = command(data, folder, 2, "--num_epochs=3000", "--tune_processes=2")
    while not all(os.path.exists(f"{folder}/trial-00{number}/checkpoint") for number in range(2)):
        assert first.poll() is None, ended(first)
        time.sleep(0.2)
    first.send_signal(signal.SIGTERM)
    status, _, errors = ended(first)
    assert status == 128 + signal.SIGTERM
    assert errors == "trainer: stopped; 0 trials are done, the same command goes on with the others\n"

    # One after the other, then the others side by side.
    ending = ("--max_steps=30", "--num_epochs=3000")
    status, printed, errors = ended(command(data, folder, 2, *ending))
    assert (status, errors) == (0, ""), printed
    for number in range(2):
        with open(f"{folder}/trial-00{number}.log", encoding="utf-8") as file:
            told = file.read()
        assert "going on behind the" in told or "nothing was left to train" in told

    status, printed, errors = ended(command(data, folder, 4, *ending, "--tune_processes=2"))
    assert (status, errors) == (0, ""), printed
    told = [line.split(":")[0] for line in printed.splitlines() if re.match(r"trial \d+: ", line)]
    # Both are under way before either has ended, and none of the first two is done again.
    assert told[:2] == ["trial 2", "trial 3"] and sorted(told[2:]) == ["trial 2", "trial 3"]
    with open(f"{folder}/trials.json", encoding="utf-8") as file:
        found = json.load(file)
    assert sorted(row["trial"] for row in found["trials"]) == [0, 1, 2, 3]
    values = [row["ctcvr_auc"] for row in found["trials"]]
    assert values == sorted(values, reverse=True) and set(found["importance"]) == {
        "embedding_size",
        "learning_rate",
        "model",
    }
    for row in found["trials"]:
        with open(f"{row['model_dir']}/hyperparameters.json", encoding="utf-8") as file:
            settings = json.load(file)
        assert {name: settings[name] for name in row["settings"]} == row["settings"] and settings["deep_layers"] == [8]
        with open(f"{row['model_dir']}/eval.json", encoding="utf-8") as file:
            assert json.load(file)["ctcvr_auc"] == pytest.approx(row["ctcvr_auc"])
    with open(f"{folder}/model_report.html", encoding="utf-8") as file:
        page = file.read()
    assert "<h2>Search</h2>" in page and 'aria-label="search"' in page and "trial-003" in page

    status, printed, errors = ended(command(data, folder, 4, *ending))
    assert (status, errors) == (0, "") and not re.search(r"^trial \d+:", printed, re.MULTILINE)
