import dataclasses

import numpy as np
import pytest

from features import names
from simulate import judge


def made_up(count=20_000, seed=0):
    rng = np.random.default_rng(seed)
    true_ctr = rng.uniform(0.01, 0.4, count)
    true_cvr = rng.uniform(0.01, 0.3, count)
    click = (rng.random(count) < true_ctr).astype(int)
    would = (rng.random(count) < true_cvr).astype(int)
    return judge.Judged(click, click * would, true_ctr, true_cvr, would, true_ctr, true_cvr, true_ctr * true_cvr)


def test_exact_auc_by_hand():
    assert judge.exact_auc(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4])) == 0.75
    assert judge.exact_auc(np.array([0, 1]), np.array([0.5, 0.5])) == 0.5
    assert judge.exact_auc(np.array([0, 0]), np.array([0.1, 0.5])) is None


def test_the_truth_itself_is_without_fault():
    figures = judge.judge(made_up())
    for name in ("cvr_bias_all", "cvr_bias_clicked", "cvr_bias_unclicked", "cvr_rmse", "cvr_logit_rmse", "cvr_regret"):
        assert figures[name] == pytest.approx(0, abs=1e-9), name
    for task in ("ctr", "cvr", "ctcvr"):
        assert figures[f"{task}_auc"] == figures[f"{task}_auc_oracle"]
    assert all(row["predicted"] == pytest.approx(row["true"]) for row in figures["cvr_deciles"])


def test_faults_are_measured():
    truth = made_up()
    doubled = dataclasses.replace(truth, pcvr=np.where(truth.click > 0, truth.true_cvr, 2 * truth.true_cvr))
    figures = judge.judge(doubled)
    assert figures["cvr_bias_clicked"] == pytest.approx(0)
    assert figures["cvr_bias_unclicked"] == pytest.approx(1)
    assert 0 < figures["cvr_bias_all"] < 1
    flat = judge.judge(dataclasses.replace(truth, pcvr=np.full(len(truth.click), 0.1)))
    expected = truth.true_cvr * np.log(truth.true_cvr / 0.1) + (1 - truth.true_cvr) * np.log((1 - truth.true_cvr) / 0.9)
    assert flat["cvr_regret"] == pytest.approx(expected.mean())
    assert flat["cvr_auc_would_convert_all"] == 0.5


def test_weighted_clicks_tell_propensities_from_towers():
    """Clicks where conversions are: unweighted they overrate, true propensities put it right, half-right ones half."""
    rng = np.random.default_rng(3)
    interest = rng.uniform(0, 1, 400_000)
    true_ctr, true_cvr = 0.02 + 0.3 * interest, 0.05 + 0.3 * interest
    click = (rng.random(len(interest)) < true_ctr).astype(int)
    blurred = (true_ctr + true_ctr.mean()) / 2
    zero = np.zeros(len(interest), int)
    figures = judge.judge(judge.Judged(click, zero, true_ctr, true_cvr, zero, blurred, true_cvr, blurred * true_cvr))
    expected = (true_ctr * true_cvr).sum() / true_ctr.sum() / true_cvr.mean() - 1
    assert figures["weighted_clicks_none"] == pytest.approx(expected, abs=0.01)
    assert figures["weighted_clicks_true"] == pytest.approx(0, abs=0.02)
    assert 0.02 < figures["weighted_clicks_predicted"] < figures["weighted_clicks_none"]
    assert figures["cvr_bias_all"] == pytest.approx(0)
    nobody = judge.judge(judge.Judged(zero, zero, true_ctr, true_cvr, zero, blurred, true_cvr, blurred * true_cvr))
    assert nobody["weighted_clicks_predicted"] is None


def write_log(folder, truth):
    lines = [
        f"{i},{c},{v},ctx,1,301\x021\x031.0" for i, (c, v) in enumerate(zip(truth.click, truth.conversion, strict=True))
    ]
    (folder / names.skeleton_file("test")).write_text("\n".join(lines) + "\n")
    rows = zip(truth.true_ctr, truth.true_cvr, truth.would_convert, strict=True)
    header = "sample_id,p_click,p_conversion,conversion_if_clicked\n"
    (folder / names.truth_file("test")).write_text(
        header + "".join(f"{i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(rows))
    )


def write_predictions(path, truth, ids):
    rows = [f"{i},{truth.pctr[i]},{truth.pcvr[i]},{truth.pctcvr[i]}\n" for i in ids]
    path.write_text("sample_id,pctr,pcvr,pctcvr\n" + "".join(rows))


def test_predictions_in_any_order_are_joined_by_sample_id(tmp_path):
    truth = made_up(500)
    write_log(tmp_path, truth)
    write_predictions(tmp_path / "p.csv", truth, np.random.default_rng(1).permutation(500))
    read = judge.read(str(tmp_path), str(tmp_path / "p.csv"))
    np.testing.assert_array_equal(read.click, truth.click)
    np.testing.assert_allclose(read.pcvr, truth.true_cvr)


@pytest.mark.parametrize("ids", [range(499), [*range(499), 0], [*range(1, 500), 0, 0]])
def test_incomplete_or_repeated_predictions_are_refused(tmp_path, ids):
    truth = made_up(500)
    write_log(tmp_path, truth)
    write_predictions(tmp_path / "p.csv", truth, ids)
    with pytest.raises(ValueError, match=r"p\.csv: its \d+ sample_ids are not the 500"):
        judge.read(str(tmp_path), str(tmp_path / "p.csv"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sample_id,pctr,pcvr\n1,.1,.2\n", "no column pctcvr, but sample_id, pctr, pcvr"),
        ("sample_id,pctr,pcvr,pctcvr\n1,.1,much,.3\n", "column pcvr has cells that are no numbers"),
        ("sample_id,pctr,pcvr,pctcvr\n1,.1,nan,.3\n", "column pcvr has cells that are no numbers"),
        ("sample_id,pctr,pcvr,pctcvr\n1,.1,,.3\n", "column pcvr has cells that are no numbers"),
        ("sample_id,pctr,pcvr,pctcvr\n1,.1\n", "Expected 4 columns, got 2"),
        ("", "Empty CSV file"),
    ],
)
def test_what_are_no_predictions_is_named(tmp_path, text, what):
    write_log(tmp_path, made_up(3))
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"p\.csv: .*{what}"):
        judge.read(str(tmp_path), str(tmp_path / "p.csv"))
