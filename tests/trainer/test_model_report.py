"""The model report: what it reads, what it shows, what it refuses."""

import html.parser
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import record_examples
import tensorflow as tf
from tensorflow.core.util import event_pb2

from features import names
from model_fn import evaluation, metric_ops, score_histogram, terms
from model_fn.hyperparameters import Hyperparameters
from trainer import evaluation_report, event_files, model_dir, reporting
from trainer.event_files import Curve
from trainer.model_report import page, pictures, tables, trained_model
from trainer.options import REPORT, Options


def scores(seed=0, count=4000, click_rate=0.3, weighted=False):
    """Metrics and tables of made-up logits, as Estimator.evaluate gives them; labels do not depend on the seed."""
    rng = np.random.default_rng(0)
    ctr, cvr = rng.normal(-1, 1, (2, count))
    click = (rng.random(count) < click_rate / (1 + np.exp(-ctr))).astype(int)
    conversion = click * (rng.random(count) < 0.5 / (1 + np.exp(-cvr)))
    ctr, cvr = np.stack([ctr, cvr]) + np.random.default_rng(seed).normal(0, 0.5, (2, count))
    found = evaluation.Evaluation(with_users=True, with_weights=weighted)
    weights = 1.0 + np.arange(count) % 3 if weighted else None
    found.update(ctr, cvr, click, conversion, 0.2, np.arange(count) // 40, weights)
    result = {name: np.float32(value) for name, value in found.metrics().items()}
    return result | {metric_ops.calibration_table_name(task): t for task, t in found.calibration_tables().items()}


def write_events(path, points):
    """An event file: scalars by step."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(event_pb2.Event(file_version="brain.Event:2").SerializeToString())
        for step, scalars in points:
            event = event_pb2.Event(step=step)
            for tag, value in scalars.items():
                event.summary.value.add(tag=tag, simple_value=value)
            writer.write(event.SerializeToString())


def write_checkpoint(folder, step):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.assign(variable, step))
        tf.compat.v1.train.Saver().save(session, os.path.join(folder, "model.ckpt"), step)


def make_model(folder, step=300, seed=0, evaluated_at=None, click_rate=0.3, data="{}", **settings):
    """A model_dir as the trainer leaves it, its evaluation included."""
    os.makedirs(folder)
    model_dir.write_whole(os.path.join(folder, model_dir.HYPERPARAMETERS_FILE), Hyperparameters(**settings).to_json())
    model_dir.write_whole(os.path.join(folder, model_dir.DATA_FILE), data)
    write_checkpoint(folder, step)
    losses = [(at, {"loss": 1 / at, "loss/ctr": 0.5 / at, "loss/ctcvr": 0.1 / at}) for at in range(10, step + 1, 10)]
    write_events(os.path.join(folder, "events.out.tfevents.1.host"), losses)
    result = scores(seed, click_rate=click_rate)
    scalars = {name: float(value) for name, value in result.items() if np.ndim(value) == 0}
    write_events(os.path.join(folder, "eval", "events.out.tfevents.2.host"), [(100, scalars), (step, scalars)])
    evaluation_report.write(
        folder, names.TEST, result | {"global_step": step if evaluated_at is None else evaluated_at}, {}
    )
    return result


def make_report(*folders, **settings):
    path = reporting.make(Options(task_type=REPORT, model_dir=",".join(map(str, folders)), **settings))
    with open(path, encoding="utf-8") as file:
        return Page(file.read())


def notes(*folders):
    """What a report of the models warns of: quicker than its page, which has the pictures."""
    return "\n".join(page.notes(load(*folders)))


def load(*folders):
    return trained_model.load_all([str(folder) for folder in folders], names.TEST)


class Page(html.parser.HTMLParser):
    """What stands in a page: its text, the cells of its tables, ids, links."""

    void = frozenset({"br", "meta"})

    def __init__(self, source):
        super().__init__()
        self.source, self.text, self.rows, self.ids, self.links, self.open = source, "", [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[key] for key in ("src", "href", "xlink:href") if key in found]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *starts):
        """The only row whose first cells are these."""
        (found,) = [row for row in self.rows if tuple(row[: len(starts)]) == starts]
        return found[len(starts) :]

    def section(self, title):
        """The page below a heading, to the next one."""
        return Page(self.source.split(f"<h2>{title}</h2>")[1].split("<h2>")[0].split("</body>")[0])


def test_page_needs_no_other_file_and_is_well_formed(tmp_path):
    make_model(tmp_path / "a", model="esmm")
    make_model(tmp_path / "b", model="escm2_dr", seed=1)
    page = make_report(tmp_path / "a", tmp_path / "b")
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(set(page.ids)) == len(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page.source)) <= set(page.ids)
    assert "<script" not in page.source and "@import" not in page.source
    assert os.listdir(tmp_path / "b").count("model_report.html") == 0


def test_equal_models_give_equal_pages(tmp_path):
    make_model(tmp_path / "a")
    assert make_report(tmp_path / "a").source == make_report(tmp_path / "a", report=str(tmp_path / "b.html")).source


def test_every_metric_of_an_evaluation_is_shown(tmp_path):
    result = make_model(tmp_path / "a")
    page = make_report(tmp_path / "a")
    tasks = [
        ("AUC", ["ctr_auc", "cvr_auc", "ctcvr_auc", "cvr_auc_all"], "{:.4f}"),
        ("log loss", ["ctr_logloss", "cvr_logloss", "ctcvr_logloss"], "{:.5f}"),
        ("normalized entropy", [f"{task}_normalized_entropy" for task in evaluation.TASKS], "{:.4f}"),
        ("calibration", ["ctr_calibration", "cvr_calibration", "ctcvr_calibration"], "{:.3f}"),
        ("expected calibration error", ["ctr_ece", "cvr_ece", "ctcvr_ece"], "{:.3g}"),
    ]
    shown = set()
    for title, metrics, form in tasks:
        cells = [cell.split(" ")[0] for cell in page.row(title, "a")]
        assert [cell for cell in cells if cell] == [form.format(result[metric]) for metric in metrics]
        shown |= set(metrics)
    users = [f"{task}_{what}" for task in evaluation.TASKS for what in ("gauc", "gauc_left_out", "ndcg10")]
    forms = ["{:.4f}", "{:.1%}", "{:.4f}"] * 3
    cells = page.section("Ranking within users").row("a")
    assert cells == [form.format(result[metric]) for metric, form in zip(users, forms, strict=True)]
    (cells,) = [row for row in page.section("Propensities").rows if row[0] == "a"]
    assert cells[2] == f"{result['propensity_clipped_share']:.1%}"
    assert cells[3] == f"{result['propensity_max_weight']:,.1f}"
    assert cells[4] == f"{result['propensity_ess']:,.0f}"
    shown |= {*users, "propensity_clipped_share", "propensity_max_weight", "propensity_ess", "gauc_user_share"}
    shown |= {"cvr_mean_all", "cvr_mean_clicked", "cvr_mean_unclicked", "conversions_per_click"}
    every = evaluation.Evaluation(with_users=True).metrics().keys()
    assert shown == {name for name in every if not name.endswith("_known")}, "nothing is known without a click here"


def test_metrics_by_weight_stand_below_the_plain_ones(tmp_path):
    make_model(tmp_path / "a")
    result = scores(weighted=True)
    evaluation_report.write(tmp_path / "a", names.TEST, result | {"global_step": 300}, {})
    page = make_report(tmp_path / "a")
    assert [cell[:6] for cell in page.row("AUCby weight", "a")] == [
        f"{result[evaluation.weighted(metric)]:.4f}" for metric in ("ctr_auc", "cvr_auc", "ctcvr_auc", "cvr_auc_all")
    ]
    assert page.row("calibrationby weight", "a")[0] == f"{result['ctr_calibration_weighted']:.3f}"
    (bias,) = [row for row in page.section("Bias of pCVR").rows if row[0] == "aby weight"]
    assert bias[1] == f"{result['conversions_per_click_weighted']:.5f}"
    (users,) = [row for row in page.section("Ranking within users").rows if row[0] == "a"]
    assert f"by weight {result['ctr_gauc_weighted']:.4f}" in users[1]


def test_bias_is_mean_pcvr_over_conversions_per_click(tmp_path):
    result = make_model(tmp_path / "a")
    page = Page(tables.bias(load(tmp_path / "a")))
    observed = result["conversions_per_click"]
    cells = page.row("a")
    assert cells[0].startswith(f"{observed:.5f}of ")
    for cell, subset in zip(cells[1:], ("clicked", "unclicked", "all"), strict=True):
        mean = result[f"cvr_mean_{subset}"]
        assert cell == f"{mean:.5f}{mean / observed:.3f} × observed"


def test_sample_of_users_is_told(tmp_path):
    result = make_model(tmp_path / "a")
    evaluation_report.write(tmp_path / "a", names.TEST, result | {"global_step": 300, "gauc_user_share": 0.25}, {})
    assert "sample of 0.25 of the users" in tables.users(load(tmp_path / "a"))


def test_models_side_by_side_show_what_differs_and_which_is_best(tmp_path):
    results = [
        make_model(tmp_path / "esmm", model="esmm", embedding_size=8),
        make_model(tmp_path / "ips", seed=1, model="escm2_ips", counterfactual_wgt=0.5, embedding_size=8),
    ]
    page = make_report(tmp_path / "esmm", tmp_path / "ips")
    told = page.section("Settings").source.split("<details>")[0]
    assert Page(told).rows == [
        ["", "esmm", "ips", "default"],
        ["model", "esmm", "escm2_ips", "esmm"],
        ["counterfactual_wgt", "0.1", "0.5", "0.1"],
    ]
    assert page.section("Settings").row("embedding_size") == ["8", "8", "16"]
    bold = re.findall(r"<b>([^<]*)</b>", page.source)
    assert f"{max(result['ctr_auc'] for result in results):.4f}" in bold
    assert f"{min(result['ctr_logloss'] for result in results):.5f}" in bold
    assert f"{min(result['ctr_auc'] for result in results):.4f}" not in bold


@pytest.mark.commands
def test_of_many_models_the_best_have_colours_and_tables_have_all(tmp_path):
    folders = [tmp_path / f"m{number:02d}" for number in range(13)]
    results = [make_model(f, seed=n, embedding_size=4 + n, counterfactual_wgt=n / 8) for n, f in enumerate(folders)]
    page = make_report(*folders)
    best = sorted(range(13), key=lambda number: -results[number]["ctcvr_auc"])
    (overview,) = [row for row in page.rows if row[1:3] == ["model", "backbone"]][:1] or [None]
    assert overview is not None
    losses = page.section("Learning curves: losses in training")
    (legend,) = re.findall(r'<p class="legend">(.*?)</p>', losses.source)
    assert re.findall(r"</i>([^<]*)<", legend) == [f"m{number:02d}" for number in best[:10]] + ["3 others"]
    drawn = re.findall(r"stroke: (#[0-9a-f]{6}); stroke-width: 1.2", losses.source)
    assert drawn.index(pictures.OTHERS_COLOR) < drawn.index(pictures.COLORS[0])
    told = page.section("Settings").source.split("<details>")[0]
    assert Page(told).rows[0] == ["", "counterfactual_wgt", "embedding_size"]
    assert [row[0] for row in Page(told).rows[1:]] == [f"m{number:02d}" for number in best]
    assert len([row for row in page.rows if row[:1] == ["AUC"]]) == 1


def test_one_model_shows_what_is_not_default(tmp_path):
    make_model(tmp_path / "a", deep_layers="64,32")
    told = make_report(tmp_path / "a").section("Settings").source.split("<details>")[0]
    assert Page(told).rows == [["", "a", "default"], ["deep_layers", "64,32", "256,128"]]


def test_warns_of_what_cannot_be_compared(tmp_path):
    make_model(tmp_path / "a", data='{"vocabulary_size": 10}')
    make_model(tmp_path / "b", data='{"vocabulary_size": 20}', evaluated_at=200)
    text = notes(tmp_path / "a", tmp_path / "b")
    assert "b was evaluated at step 200, not at its last" in text
    assert "different vocabulary_size" in text
    assert "different impressions" not in text
    result = scores(count=2000)
    evaluation_report.write(tmp_path / "b", names.TEST, result | {"global_step": 300}, {})
    text = notes(tmp_path / "a", tmp_path / "b")
    assert "different impressions" in text and "not at its last" not in text


def test_absent_metrics_are_dashes(tmp_path):
    make_model(tmp_path / "a", click_rate=0.0)
    page = make_report(tmp_path / "a")
    assert page.row("AUC", "a") == ["–"] * 4
    assert page.section("Bias of pCVR").row("a")[0] == "–of 0 clicks"
    assert "no positives" in page.text


def test_names_are_escaped(tmp_path):
    make_model(tmp_path / "<b>$x_1$&")
    make_model(tmp_path / "other")
    page = make_report(tmp_path / "<b>$x_1$&", tmp_path / "other")
    assert page.row("AUC", "<b>$x_1$&")


def test_report_of_another_split(tmp_path):
    make_model(tmp_path / "a")
    with pytest.raises(ValueError, match=r"eval_train\.json: no such file; run --task_type=eval .*--split=train"):
        make_report(tmp_path / "a", split=names.TRAIN)
    result = scores(seed=5)
    evaluation_report.write(tmp_path / "a", names.TRAIN, result | {"global_step": 300}, {})
    page = make_report(tmp_path / "a", split=names.TRAIN)
    assert page.row("AUC", "a")[0].startswith(f"{result['ctr_auc']:.4f}")
    assert "4,000 impressions of train" in page.text


def test_refuses_folders_without_an_evaluated_model(tmp_path):
    with pytest.raises(ValueError, match=r"gone does not exist.*--task_type=train"):
        make_report(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"has no checkpoint.*--task_type=train"):
        make_report(tmp_path)
    make_model(tmp_path / "a")
    with pytest.raises(ValueError, match="/a twice"):
        make_report(tmp_path / "a", f"{tmp_path}/a/")
    with pytest.raises(ValueError, match="51 folders: allowed are 1 to 50"):
        make_report(*(tmp_path / str(number) for number in range(51)))
    (tmp_path / "a" / "eval.json").write_text('{"split": "test"}')
    with pytest.raises(ValueError, match=r"eval\.json: damaged.*run --task_type=eval again"):
        make_report(tmp_path / "a")
    (tmp_path / "a" / "eval.json").unlink()
    with pytest.raises(ValueError, match=r"eval\.json: no such file; run --task_type=eval"):
        make_report(tmp_path / "a")


def test_evaluation_is_read_as_it_was_written(tmp_path):
    result = make_model(tmp_path / "a")
    found = evaluation_report.read(str(tmp_path / "a"), names.TEST)
    assert (found.split, found.global_step, found.impressions) == (names.TEST, 300, 4000)
    there = {name: float(v) for name, v in result.items() if np.ndim(v) == 0 and not np.isnan(v)}
    assert found.metrics == {name: pytest.approx(value) for name, value in there.items()}
    for task in evaluation.TASKS:
        np.testing.assert_allclose(found.calibration[task], result[metric_ops.calibration_table_name(task)])


def test_labels_are_the_shortest_that_differ():
    assert trained_model.labels(["/m/esmm"]) == ["esmm"]
    assert trained_model.labels(["/m/esmm", "/m/ips"]) == ["esmm", "ips"]
    assert trained_model.labels(["/m/a/esmm", "/m/b/esmm", "/m/c"]) == ["a/esmm", "b/esmm", "m/c"]


def test_later_event_file_replaces_what_it_repeats(tmp_path):
    # Killed at step 30, its last checkpoint at 15.
    write_events(
        str(tmp_path / "events.out.tfevents.1.h"), [(10, {"x": 1.0}), (20, {"x": 2.0}), (30, {"x": 3.0, "y": 7.0})]
    )
    write_events(str(tmp_path / "events.out.tfevents.2.h"), [(16, {"x": 16.0}), (26, {"x": 26.0})])
    found = event_files.read(str(tmp_path))
    assert not found.cut_off
    np.testing.assert_array_equal(found.curves["x"].steps, [10, 16, 26])
    np.testing.assert_array_equal(found.curves["x"].values, [1, 16, 26])
    np.testing.assert_array_equal(found.curves["y"].values, [7])


def test_absent_metrics_leave_no_points(tmp_path):
    write_events(
        str(tmp_path / "events.out.tfevents.1.h"), [(1, {"x": float("nan"), "y": float("nan")}), (2, {"x": 5.0})]
    )
    found = event_files.read(str(tmp_path)).curves
    assert found.keys() == {"x"}
    np.testing.assert_array_equal(found["x"].steps, [2])


def test_event_file_that_is_cut_off_is_read_to_there(tmp_path):
    make_model(tmp_path / "a")
    path = tmp_path / "a" / "events.out.tfevents.1.host"
    path.write_bytes(path.read_bytes()[:-5])
    found = event_files.read(str(tmp_path / "a"))
    assert found.cut_off == [str(path)]
    assert found.curves["loss"].steps[-1] == 290
    assert "events.out.tfevents.1.host ends within a record" in notes(tmp_path / "a")


def test_folder_without_events_is_told(tmp_path):
    make_model(tmp_path / "a")
    (tmp_path / "a" / "events.out.tfevents.1.host").unlink()
    page = make_report(tmp_path / "a")
    assert "a has no TensorBoard events of its training" in page.text
    assert "Learning curves: losses" not in page.text and "Learning curves: evaluations" in page.text


def evaluated(positives, negatives):
    """An evaluation of which the counts matter only."""
    table = np.array([[negatives, 0.5, 0.0], [positives, 0.5, 1.0]])
    calibration = {task: table for task in evaluation.TASKS}
    return evaluation_report.Evaluated(names.TEST, 1, positives + negatives, {}, calibration, {})


def test_error_of_an_auc_is_that_of_the_paper_and_of_samples():
    # Example of Hanley and McNeil 1982.
    assert tables.auc_error(evaluated(51, 58), evaluation.CTR, 0.893) == pytest.approx(0.032, abs=0.001)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        histogram = score_histogram.ScoreHistogram()
        histogram.update(
            np.concatenate([rng.exponential(2.0, 60), rng.exponential(1.0, 300)]), np.repeat([1, 0], [60, 300])
        )
        found.append(histogram.auc())
    error = tables.auc_error(evaluated(60, 300), evaluation.CVR_ALL, float(np.mean(found)))
    assert error == pytest.approx(np.std(found), rel=0.12)
    assert tables.auc_error(evaluated(0, 58), evaluation.CTR, None) is None


def test_smooth_keeps_straight_lines_and_narrows_noise():
    line = np.linspace(3, 9, 200)
    np.testing.assert_allclose(pictures.smooth(line), line)
    noise = np.random.default_rng(0).normal(size=2000)
    assert pictures.smooth(noise).std() < 0.2


def test_curve_is_drawn_with_all_its_points():
    steps = np.array([10, 20, 40])
    panel = pictures.Panel("title", [pictures.Line(Curve(steps, steps / 7.0), "#2a6f97")])
    picture = pictures.curves([panel], "name")
    (path,) = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: #2a6f97; stroke-width: 1.2', picture)
    points = np.array([list(map(float, point)) for point in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)])
    (x, y), slopes = points.T, np.diff(points[:, 1]) / np.diff(points[:, 0])
    assert len(points) == 3 and x[0] < x[1] < x[2] and y[0] > y[1] > y[2]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that the trainer trained."""
    from trainer import scoring, training

    folder = tmp_path_factory.mktemp("trained")
    data_dir, model = str(folder / "data"), str(folder / "model")
    record_examples.write_data_dir(data_dir, record_examples.small_schema())
    settings = Hyperparameters(model="escm2_dr", embedding_size=4, deep_layers="8")
    options = Options(data_dir=data_dir, model_dir=model, batch_size=32, max_steps=4, log_steps=1, num_threads=1)
    training.train(options, settings, {})
    scoring.evaluate(options, {})
    return model


@pytest.mark.commands
def test_command_reports_on_a_model_that_the_trainer_made(trained, tmp_path):
    path = tmp_path / "page.html"
    command = [sys.executable, "-m", "trainer", "--task_type=report", f"--model_dir={trained}", f"--report={path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"wrote {path}\n"), done.stderr
    page = Page(path.read_text(encoding="utf-8"))
    losses = page.section("Learning curves: losses in training").text
    for title in ("all terms", *terms.factors(Hyperparameters(model="escm2_dr"))):
        assert title in losses
    assert "ips" not in losses
    assert "floor" in page.section("Propensities").text
    assert "CTR: calibration" in page.section("Learning curves: evaluations").text
    assert "not at its last" not in page.text
