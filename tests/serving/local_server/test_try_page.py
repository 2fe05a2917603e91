"""The page in a real browser: the form is filled from the warm-up, and the scores come ranked."""

import html.parser
import shutil
import subprocess

import pytest
from local_server_examples import running_server, toy_scores, write_toy_model

from serving.local_server.try_page import sample_inputs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
USER, WEIGHTS, ITEMS = [2**53 + 1, 5], [1e-30, 2.0], [[4, -1], [7, 2], [1, -1]]
WARM_UP = {"user": USER, "user/weight": WEIGHTS, "item": ITEMS}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("toy")
    write_toy_model(str(base / "1"), warm_up=[WARM_UP])
    with running_server(f"--model_base_path={base}", "--model_name=toy") as running:
        yield running


def test_description_of_the_models(server):
    (model,) = server.json("GET", "/try/models")[1]
    assert (model["name"], model["version"]) == ("toy", "1")
    assert [(i["name"], i["dtype"], i["rank"]) for i in model["inputs"]] == [
        ("item", "int64", 2),
        ("user", "int64", 1),
        ("user/weight", "float", 1),
    ]
    assert model["request"] == {
        "user": ["9007199254740993", "5"],
        "user/weight": [1e-30, 2.0],
        "item": [["4", "-1"], ["7", "2"], ["1", "-1"]],
    }


def test_page_needs_nothing_from_outside(server):
    status, headers, page = server.call("GET", "/try")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    for reference in (b"http://", b"https://", b"src=", b"@import", b"url("):
        assert reference not in page


class Cells(html.parser.HTMLParser):
    """Text of the table cells in the element of an id, by row, and the values of all inputs."""

    def __init__(self, table):
        super().__init__()
        self.table, self.inside = table, False
        self.rows, self.inputs = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.inside = attributes.get("id") == self.table
        if tag == "input":
            self.inputs.append(attributes)
        if self.inside and tag == "tr":
            self.rows.append([])
        if self.inside and tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self.inside = False

    def handle_data(self, text):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += text.strip()


def rendered(url):
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        "--dump-dom",
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_browser_shows_the_ranked_scores(server):
    # How long the browser waits for the page's own calls differs from run to run.
    page = next(
        page for page in (rendered(server.url + "/try#rank") for _ in range(5)) if '<section id="result">' in page
    )
    assert "version 1, 2 fields" in page
    cells = Cells("ranking")
    cells.feed(page)
    scores = toy_scores(USER, WEIGHTS, ITEMS)
    ranking = [row for row in cells.rows if row]
    order = sorted(range(3), key=lambda place: -scores["pctcvr"][place])
    assert [row[:2] for row in ranking] == [[str(rank + 1), str(place + 1)] for rank, place in enumerate(order)]
    shown = [[float(value) for value in row[2:5]] for row in ranking]
    for place, row in zip(order, shown, strict=True):
        assert row == pytest.approx([scores[name][place] for name in ("pctcvr", "pctr", "pcvr")], rel=1e-3)
    assert [row[5] for row in ranking] == [{0: "4", 1: "7, 2", 2: "1"}[place] for place in order]


def test_model_without_warm_up_has_no_request_to_show(tmp_path):
    assert sample_inputs(write_toy_model(str(tmp_path / "1"), warm_up=[])) is None
