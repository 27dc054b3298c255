"""Votes to results: planted truths, the paper's counts, what cannot be said, and one result from every source."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from core.errors import PanobenchError
from panobench import cli
from study_app.analysis import paper
from study_app.analysis.analyse import analyse
from study_app.analysis.plan import Plan
from study_app.analysis.report import write_report
from study_app.analysis.sources import read_study
from study_app.analysis.votes import Votes, from_rows, read_export
from study_app.bundle import KEY_FILE, Bundle, load_key
from study_app.export import export, table
from study_app.organiser import set_closed
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.store import Store
from tests.study_app.analysis.ballots import METHODS, paired, planted, row, votes
from tests.study_app.raters import begin, rate_everything

SHARES = np.array([0.113, 0.141, 0.23, 0.516])
PLAN = Plan(proposed="360dvd", resamples=200)


def by_index(values: dict) -> list:
    return [values[name] for name in METHODS]


@pytest.fixture(scope="module")
def thirty_one() -> dict:
    """31 raters, 8 prompts, half mode, planted strengths."""
    rows = paired(planted(1, np.log(SHARES), side=0.3), criteria=("graphics", "motion"))
    return analyse(votes(rows), PLAN)


def test_planted_shares_side_and_ties_lie_in_their_intervals(thirty_one: dict):
    for entry in thirty_one["criteria"].values():
        for share, truth in zip(by_index(entry["shares"]), SHARES, strict=True):
            assert share["low"] < share["value"] < share["high"]
            assert share["value"] == pytest.approx(truth, abs=0.08)
        assert sum(share["value"] for share in entry["shares"].values()) == pytest.approx(1)
        assert entry["side"]["low"] < np.exp(0.3) < entry["side"]["high"]
        assert entry["ties"]["low"] < 0.4 < entry["ties"]["high"]
        assert entry["answers"] == 31 * 24


def test_counts_of_pairs_are_those_of_the_votes_and_of_the_design(thirty_one: dict):
    rows = paired(planted(1, np.log(SHARES), side=0.3), criteria=("graphics", "motion"))
    for entry, criterion in zip(thirty_one["criteria"].values(), ("graphics", "motion"), strict=True):
        assert len(entry["pairs"]) == 6
        for pair in entry["pairs"]:
            met = [
                r
                for r in rows
                if r["criterion"] == criterion and {pair["a"], pair["b"]} == set(r["methods"].split("|"))
            ]
            assert pair["wins"] == sum(r["preferred"] == pair["a"] for r in met)
            assert pair["ties"] == sum(r["preferred"] == "tie" for r in met)
            assert pair["wins"] + pair["ties"] + pair["losses"] == len(met) == 31 * 4
            assert pair["rate"]["value"] == pytest.approx((pair["wins"] + pair["ties"] / 2) / len(met))
            assert pair["rate"]["low"] < pair["rate"]["value"] < pair["rate"]["high"]


def test_primary_tests_are_of_the_proposed_method_and_exploratory_ones_of_all_pairs(thirty_one: dict):
    primary, exploratory = thirty_one["tests"]["primary"], thirty_one["tests"]["exploratory"]
    assert [(t["a"], t["criterion"]) for t in primary] == [("360dvd", "graphics")] * 3 + [("360dvd", "motion")] * 3
    assert len(exploratory) == 12
    for test in primary:
        same = [
            t for t in exploratory if {t["a"], t["b"]} == {test["a"], test["b"]} and t["criterion"] == test["criterion"]
        ]
        assert [t["p"] for t in same] == [test["p"]]
        assert test["wins"] > test["losses"]
        assert test["p"] <= test["p_holm"] <= same[0]["p_holm"] < 0.05


def test_the_papers_counts_give_back_the_papers_percentages():
    """As a best-of-four study of 31 raters and 8 prompts with just these counts."""
    rng = np.random.default_rng(0)
    rows = []
    for criterion, counts in paper.COUNTS.items():
        chosen = rng.permutation(np.repeat(range(4), counts))
        assert len(chosen) == paper.CHOICES == 248
        for cell, method in enumerate(chosen):
            shown = rng.permutation(4).tolist()
            rater, prompt = divmod(cell, 8)
            rows.append(row(rater, prompt, prompt, shown, criterion, "abcd"[shown.index(method)]))
    result = analyse(votes(rows), PLAN)
    for criterion, printed in paper.PRINTED.items():
        entry = result["criteria"][criterion]
        found = [100 * share["value"] for share in by_index(entry["shares"])]
        # The paper's columns were made to add up to 100.0: two of the twenty are 0.06 off.
        np.testing.assert_allclose(found, printed, atol=0.07)
        np.testing.assert_allclose(found, 100 * np.array(paper.COUNTS[criterion]) / 248)
        assert sum(entry["choices"].values()) == 248
        assert all(share["low"] < share["value"] < share["high"] for share in entry["shares"].values())
        assert by_index(result["paper"]["percent"][criterion]) == list(printed)
    assert len(result["tests"]["primary"]) == 15
    assert len(result["tests"]["exploratory"]) == 30
    assert result["study"]["mode"] == "best-of-four"
    assert result["paper"]["label"].endswith("best-of-four, n=248 per criterion")


def numbers(entry: dict) -> list:
    """Every estimate of a criterion."""
    found = [value for share in entry["shares"].values() for value in share.values()]
    return found + [value for name in ("side", "ties") for value in entry[name].values()]


def test_one_rater_has_counts_but_no_interval_and_no_test():
    result = analyse(votes(paired(planted(2, np.log(SHARES)), raters=1, mode="full")), PLAN)
    entry = result["criteria"]["graphics"]
    assert entry["shares"]["360dvd"]["value"] is not None
    assert {end for share in entry["shares"].values() for end in (share["low"], share["high"])} == {None}
    assert {pair["rate"]["low"] for pair in entry["pairs"]} == {None}
    assert {test["p"] for test in result["tests"]["exploratory"]} == {None}
    assert "One rater" in entry["no_interval"]
    assert any("One rater" in sentence for sentence in result["statements"])


def test_one_prompt_has_no_interval():
    result = analyse(votes(paired(planted(2, np.log(SHARES)), prompts=1, mode="full")), PLAN)
    entry = result["criteria"]["graphics"]
    assert entry["shares"]["360dvd"]["low"] is None
    assert "One prompt" in entry["no_interval"]
    assert entry["leave_one_prompt_out"][0]["status"] == "no votes"


def test_all_ties_give_no_share_and_say_so():
    result = analyse(votes(paired(lambda *_: "tie")), PLAN)
    entry = result["criteria"]["graphics"]
    assert set(numbers(entry)) == {None}
    assert entry["status"] == "all ties"
    assert entry["agreement"]["alpha"] is None
    assert entry["agreement"]["raw"] == 1
    assert {test["p"] for test in result["tests"]["primary"]} == {None}
    assert any("All 744 answers are ties" in sentence for sentence in result["statements"])


def test_complete_separation_gives_no_share_and_says_so():
    """The proposed method wins every time; the rest is as planted."""
    rest = planted(3, np.log(SHARES))
    choose = lambda r, p, a, b: "left" if a == 3 else "right" if b == 3 else rest(r, p, a, b)  # noqa: E731
    result = analyse(votes(paired(choose)), PLAN)
    entry = result["criteria"]["graphics"]
    assert set(numbers(entry)) == {None}
    assert entry["limit"] == {"animatediff": 0, "panorama_lora": 0, "enhanced_360": 0, "360dvd": 1}
    assert "360dvd never lost and never tied against" in entry["statement"]
    won = [pair for pair in entry["pairs"] if "360dvd" in (pair["a"], pair["b"])]
    assert {pair["rate"]["value"] for pair in won} == {1.0}
    assert {pair["rate"]["low"] for pair in won} == {None}
    assert all(test["p_holm"] < 0.001 for test in result["tests"]["primary"])


def test_a_disconnected_graph_is_refused():
    rows = [
        r
        for r in paired(planted(4, np.log(SHARES)))
        if set(r["methods"].split("|")) in ({*METHODS[:2]}, {*METHODS[2:]})
    ]
    entry = analyse(votes(rows), PLAN)["criteria"]["graphics"]
    assert set(numbers(entry)) == {None}
    assert entry["status"] == "disconnected"
    assert "360dvd and enhanced_360 | animatediff and panorama_lora" in entry["statement"]
    assert entry["pairs"][0]["rate"]["value"] is not None or entry["pairs"][1]["rate"]["value"] is not None


def test_flagged_raters_stay_and_a_second_table_leaves_them_out():
    rows = paired(planted(5, np.log(SHARES)), raters=12)
    careless = paired(lambda *_: "left", raters=16)
    flagged = [r | {"flags": "side same"} for r in careless if int(r["rater"][1:]) >= 12]
    result = analyse(votes(rows + flagged), PLAN)
    assert result["study"]["raters"] == 16
    assert sorted(result["screening"]["flagged"]) == ["r012", "r013", "r014", "r015"]
    assert result["screening"]["flags"] == {"side": 4, "same": 4}
    alone = analyse(votes(rows), PLAN)["criteria"]["graphics"]
    assert result["screening"]["criteria"]["graphics"]["shares"] == alone["shares"]
    assert result["criteria"]["graphics"]["side"]["value"] > alone["side"]["value"] + 0.2
    assert any("4 raters with a screening flag" in sentence for sentence in result["statements"])


def test_when_everybody_is_flagged_the_second_table_is_empty_and_says_so():
    rows = [r | {"flags": "fast"} for r in paired(planted(5, np.log(SHARES)), raters=4)]
    result = analyse(votes(rows), PLAN)
    assert result["criteria"]["graphics"]["shares"]["360dvd"]["value"] is not None
    assert set(numbers(result["screening"]["criteria"]["graphics"])) == {None}
    assert any("as nobody is left" in sentence for sentence in result["statements"])


def test_a_prompt_that_alone_decides_who_leads_is_named():
    def choose(_rater: int, prompt: int, left: int, right: int) -> str:
        best = 3 if prompt == 0 else 2
        return rest(_rater, prompt, left, right) if best not in (left, right) else "left" if left == best else "right"

    rest = planted(6, np.zeros(4))
    result = analyse(votes(paired(choose, prompts=2, mode="full")), PLAN)
    rows = result["criteria"]["graphics"]["leave_one_prompt_out"]
    assert [row["prompt"] for row in rows] == ["p0", "p1"]
    assert result["criteria"]["graphics"]["per_prompt"]["p0"]["360dvd"]["rate"] == 1
    assert result["criteria"]["graphics"]["per_prompt"]["p1"]["enhanced_360"]["rate"] == 1


def test_repeated_pairs_measure_each_rater_and_enter_no_score():
    rows = paired(planted(7, np.log(SHARES)), raters=4)
    again = []
    for number in range(4):  # with the sides swapped: three favour the same method again, one the other
        first = next(r for r in rows if r["rater"] == f"r{number:03d}" and r["choice"] != "tie")
        shown = [METHODS.index(name) for name in first["methods"].split("|")][::-1]
        same = {"left": "right", "right": "left"}[first["choice"]]
        choice = first["choice"] if number == 0 else same
        again.append(row(number, 900, int(first["prompt_id"][1:]), shown, "graphics", choice, kind="repeated"))
    result = analyse(votes(rows + again), PLAN)["criteria"]["graphics"]
    assert (result["agreement"]["repeated_same"], result["agreement"]["repeated"]) == (3, 4)
    assert result["answers"] == 4 * 24


def test_an_unknown_proposed_method_is_named():
    with pytest.raises(PanobenchError, match=r"'360dv' is not among .*did you mean '360dvd'"):
        analyse(votes(paired(planted(2, np.log(SHARES)), raters=2)), Plan(proposed="360dv", resamples=100))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_database_csv_and_json_give_one_result(store: Store, big_bundle: Bundle, database: str, tmp_path: Path):
    for _ in range(4):
        rate_everything(store, begin(store))
    key = load_key(big_bundle.folder / KEY_FILE, big_bundle.study.study_id)
    for name in ("v.csv", "v.json"):
        export(store, key, tmp_path / name)
    from_database, source = read_study(big_bundle.folder, database)
    assert source.endswith("(the study is still open)")
    set_closed(store, True)
    assert "open" not in read_study(big_bundle.folder, database)[1].rpartition("/")[2]
    results = [
        analyse(v, PLAN) for v in (from_database, read_export(tmp_path / "v.csv"), read_export(tmp_path / "v.json"))
    ]
    assert results[0] == results[1] == results[2]
    assert results[0]["study"]["answers"] == 4 * 24 * 5
    assert results[0]["study"]["control_answers"] > 0
    assert list(results[0]["criteria"]) == big_bundle.criteria


def test_best_of_four_from_the_apps_database(four_methods: list[Path], tmp_path: Path, database: str):
    bundle = prepare(four_methods, tmp_path / "study", StudyParams(mode="best-of-four"))
    store = Store(bundle, database)
    for _ in range(3):
        rate_everything(store, begin(store))
    key = load_key(bundle.folder / KEY_FILE, bundle.study.study_id)
    export(store, key, tmp_path / "votes.csv")
    rows = [r for r in table(store, key) if r["kind"] == "scored" and r["criterion"] == "content"]
    store.close()
    found, _ = read_study(bundle.folder, database)
    result = analyse(found, PLAN)
    assert result == analyse(read_export(tmp_path / "votes.csv"), PLAN)
    assert result["study"]["mode"] == "best-of-four"
    assert result["study"]["finished"] == 3
    for method, share in result["criteria"]["content"]["shares"].items():
        assert share["value"] == pytest.approx(sum(r["preferred"] == method for r in rows) / 24)
    write_report(result, tmp_path / "analysis")
    assert "Percent of the choices" in (tmp_path / "analysis/index.html").read_text()


def test_without_a_database_nothing_is_made_and_an_export_in_its_place_is_read(big_bundle: Bundle, tmp_path: Path):
    found, source = read_study(big_bundle.folder, str(tmp_path / "none.sqlite"))
    assert not (tmp_path / "none.sqlite").exists()
    assert "does not exist yet" in source
    result = analyse(found, PLAN)
    assert result["status"] == "no votes"
    assert result["statements"][0].startswith("There are no votes yet")
    assert set(numbers(result["criteria"]["graphics"])) == {None}
    assert result["criteria"]["graphics"]["status"] == "no votes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choice": "up"}, "choice is 'up'"),
        ({"methods": "360dvd|360dvd"}, "shows a method twice"),
        ({"study_id": "other"}, "votes of several studies"),
        ({"assignment": "0-1"}, "answers 'graphics' twice"),
        ({"flags": None}, "missing: flags"),
        ({"choice": "a"}, "of pairs and of best-of-four"),
    ],
)
def test_a_table_that_is_no_export_is_refused(change: dict, message: str):
    rows = paired(planted(2, np.log(SHARES)), raters=1)
    with pytest.raises(PanobenchError, match=message):
        from_rows([rows[0] | change, *rows[1:]], source="votes.csv")


# --- the page, the tables and the command -----------------------------------------------------------------------------


class Page(HTMLParser):
    """Links, sources and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def rated(seed: int = 8) -> Votes:
    """Two criteria, one of which is separated, and a rater with a flag."""
    rest = planted(seed, np.log(SHARES))
    rows = paired(rest)
    rows += paired(
        lambda r, p, a, b: "left" if a == 3 else "right" if b == 3 else rest(r, p, a, b), criteria=("continuity",)
    )
    return votes([r | ({"flags": "fast"} if r["rater"] == "r003" else {}) for r in rows])


def test_the_report_needs_nothing_else_and_says_everything(tmp_path: Path):
    plan = Plan("360dvd", 200, labels=(("360dvd", "D: <360DVD> & more_"), ("animatediff", "A: $x^$_")))
    result = analyse(rated(), plan)
    write_report(result, tmp_path / "analysis")
    text = (tmp_path / "analysis/index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(source.startswith("data:") for source in page.sources)
    assert not re.search(r"https?://", re.sub(r"data:[^\"]+", "", text))
    words = " ".join(" ".join(page.words).split())
    assert "best-of-four, n=248 per criterion" in words
    assert "D: <360DVD> & more_ never lost and never tied" in words
    assert "→100" in words
    assert "Without the flagged raters (30 raters)" in words
    assert "nan" not in words.lower().split()
    assert json.loads((tmp_path / "analysis/analysis.json").read_text()) == json.loads(json.dumps(result))
    latex = (tmp_path / "analysis/tables.tex").read_text()
    assert latex.count(r"\begin{table") == latex.count(r"\end{table") == 4
    assert r"D: $<$360DVD$>$ \& more\_" in latex
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            assert "_" not in line.replace(r"\_", "")
    for name in ("shares", "pairs", "prompts"):
        assert (tmp_path / f"analysis/{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (tmp_path / f"analysis/{name}.pdf").read_bytes().startswith(b"%PDF")
    before = {path.name: path.read_bytes() for path in (tmp_path / "analysis").iterdir()}
    write_report(analyse(rated(), plan), tmp_path / "analysis")
    assert {path.name: path.read_bytes() for path in (tmp_path / "analysis").iterdir()} == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(PanobenchError, match="is not an analysis"):
        write_report(analyse(votes([]), Plan()), tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_the_command_without_votes_says_so_and_succeeds(big_bundle: Bundle, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("PANOBENCH_STUDY_DB", raising=False)
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1\nanalysis: {proposed: 360dvd, resamples: 100}\n")
    options = ["--bundle", str(big_bundle.folder), "--params", str(params), "--out", str(tmp_path / "a")]
    done = CliRunner().invoke(cli, ["study", "analyse", *options, "--database", str(tmp_path / "none.sqlite")])
    assert done.exit_code == 0, done.output
    assert "There are no votes yet" in done.output
    assert "There are no votes yet" in (tmp_path / "a/index.html").read_text()
    assert json.loads((tmp_path / "a/analysis.json").read_text())["status"] == "no votes"


def test_wrong_parameters_of_the_analysis_are_named(tmp_path: Path):
    params = tmp_path / "params.yaml"
    params.write_text("analysis: {resample: 100}\n")
    done = CliRunner().invoke(cli, ["study", "analyse", "x.csv", "--params", str(params)])
    assert done.exit_code == 1
    assert "unknown key analysis.resample; did you mean 'resamples'?" in done.output
