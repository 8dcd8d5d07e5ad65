"""What trials found, as text, as JSON and as a page: nothing missing, nothing hidden, nothing hostile."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import proofs
import pytest
from repository import ROOT
from rich.console import Console

from cluster.errors import ClusterError
from day2.predictions.prediction import Effect, Prediction
from day2.report import document, files, html, summary, terminal, timeline_chart, wording
from day2.report.wording import Verdict
from day2.trials.result import LogLine, Phase, Proof, Throughput, Trial
from day2.trials.timeline import KEYS
from day2.ui.console import to_json

PROOFS = {
    "one": proofs.proof(),
    "matrix": proofs.matrix(2),
    "failed": proofs.failed(),
    "async": proofs.asynchronous(),
    "soak": proofs.soak(12),
    "none": dataclasses.replace(proofs.proof(), trials=(), stopped="the cluster is not healthy"),
    "no writes": proofs.proof(
        proofs.trial(outage=None, outage_began=None, healthy_again=None, primary_after=None, throughput=Throughput(-3.0, 0.1, ()))
    ),
    "never": proofs.proof(proofs.trial(timeline=(Phase("fault", "fault", 0.0), Phase("leader", "new", None, (1.0, 2.0))))),
}
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects what tests ask of a page, and fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.charts: list[str | None] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._element(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._element(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def _element(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [value for key in ("src", "href", "action", "data") if (value := values.get(key))]
        if tag == "svg":
            self.charts.append(values.get("aria-label"))


@cache
def page_of(case: str) -> str:
    return html.page(PROOFS[case])


def shown(proof: Proof, width: int = 100) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False)
    terminal.show(out, proof)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def hostile(word: str) -> Proof:
    """A proof in which every text that comes from elsewhere is `word`."""
    trial = proofs.trial()
    phases = tuple(dataclasses.replace(phase, name=word) for phase in trial.timeline)
    prediction = dataclasses.replace(trial.prediction, why=word)
    bad = dataclasses.replace(
        trial, fault=word, description=word, began=word, timeline=phases, prediction=prediction,
        healthy_again=None, problems=(word,), primary_before=word, writes=proofs.write_check(split_brain=(word,)),
    )  # fmt: skip
    names = {"cluster": word, "command": word, "stopped": word, "versions": {word: word}, "settings": {word: {word: word}}}
    return proofs.proof(trial, bad, bad, **names)


@pytest.mark.parametrize("case", PROOFS)
def test_it_can_be_shown_in_every_form(case: str) -> None:
    proof = PROOFS[case]
    verdict = wording.headline(proof)
    for width in (80, 100):
        text = shown(proof, width)
        assert text.splitlines()[-1].startswith(verdict[:40])
        assert max(map(len, text.splitlines())) <= width
    assert verdict in terminal.text(proof) and "\x1b" not in terminal.text(proof)
    assert verdict in Page(page_of(case)).words
    assert json.loads(to_json(document.document(proof)))["headline"] == verdict


@pytest.mark.parametrize("case", PROOFS)
def test_the_document_has_every_field_and_leads_back(case: str) -> None:
    proof = PROOFS[case]
    read = json.loads(json.dumps(document.document(proof)))
    assert {field.name for field in dataclasses.fields(Proof)} <= set(read)
    for trial in read["trials"]:
        assert {field.name for field in dataclasses.fields(Trial)} <= set(trial)
    assert read["passed"] is proof.passed
    assert document.load(read) == proof


def test_the_document_has_statistics_for_each_fault() -> None:
    read = document.document(PROOFS["failed"])
    outages = sorted(t.outage for t in PROOFS["failed"].trials if t.fault == "host-off" and t.outage is not None)
    assert read["faults"]["host-off"]["outage"] == {"n": 5, "minimum": outages[0], "median": outages[2], "maximum": outages[-1]}
    assert read["faults"]["host-off"]["trials_failed"] == 1 and not read["faults"]["host-off"]["passed"]
    assert read["faults"]["switchover"]["passed"] and read["faults"]["switchover"]["failures"] == []


def test_ids_are_kept_as_runs() -> None:
    assert document.spans([(2, 7), (1, 4), (1, 5), (1, 6), (2, 5)]) == [[1, 4, 6], [2, 5, 5], [2, 7, 7]]
    assert document.spans([]) == []


@pytest.mark.parametrize("data", [{}, {"trials": [{}]}, {"trials": 3}, {"trials": [], "cluster": "shop"}])
def test_no_other_document_is_taken_for_a_report(data: dict[str, Any]) -> None:
    for other in (data, {"format": document.FORMAT, **data}):
        with pytest.raises(ClusterError, match="no report of a failover test"):
            document.load(other)


def test_a_report_of_another_format_is_refused_by_its_name() -> None:
    read = document.document(PROOFS["matrix"])
    with pytest.raises(ClusterError, match="'pgquorum proof 1', and this version reads 'pgquorum proof 2' only"):
        document.load({**read, "format": "pgquorum proof 1"})


def test_a_lost_write_is_said_wherever_anybody_looks() -> None:
    proof = PROOFS["failed"]
    assert wording.headline(proof) == "Failed: 37 acknowledged writes lost"
    assert "37 acknowledged writes are lost" in shown(proof)
    assert "37 acknowledged writes are lost" in Page(page_of("failed")).words
    read = document.document(proof)
    assert read["totals"]["lost"] == 37 and read["trials"][-1]["writes"]["lost"]["count"] == 37


def test_a_loss_that_is_allowed_is_said_too() -> None:
    proof = PROOFS["async"]
    assert proof.passed and wording.proof_verdict(proof) is Verdict.LOSSY
    assert wording.headline(proof) == "270 acknowledged writes lost, as durability async allows"
    assert "host-off: 270 acknowledged writes lost" in shown(proof)
    page = Page(page_of("async")).words
    assert "270 acknowledged writes lost" in page and "33 reads saw a row that is not there any more" in page
    assert document.document(proof)["verdict"] == "passed, with losses"


@pytest.mark.parametrize("case", PROOFS)
def test_the_page_needs_nothing_else(case: str) -> None:
    text = page_of(case)
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert all(page.charts)
    assert {trial.fault for trial in PROOFS[case].trials} <= set(re.split(r"[\s*]+", page.words))


HOSTILE = ("<script>alert(1)</script>", "a\"b'c & <i>", "$x^2$ \\frac{", "[red]x[/] [/nothing]", "x --> ]]>", "a\x00b\x1b[31m\n")


@pytest.mark.parametrize("word", HOSTILE)
def test_names_are_only_names(word: str) -> None:
    proof = hostile(word)
    text = html.page(proof)
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("i") == text.count('<i class="')
    if word.isprintable():
        assert word in page.words
    terminal.text(proof)
    json.dumps(document.document(proof))


def test_one_trial_has_prediction_beside_measurement() -> None:
    text = shown(PROOFS["one"])
    assert re.search(r"leader key gone +\d+\.\d\d s +14\.6 to 20\.9 s", text)
    assert re.search(r"lost \(RPO\) +0 ", text)
    assert "never" in shown(PROOFS["never"])


def test_several_trials_have_a_row_for_each_fault() -> None:
    text = shown(PROOFS["matrix"])
    for fault in proofs.FAULTS:
        assert re.search(rf"^{fault}( \*)? .*passed *$", text, re.MULTILINE)
    assert "problem" not in text
    assert "trial 13 of 13" in shown(PROOFS["failed"]) and "trial 12 of 13" not in shown(PROOFS["failed"])


def test_the_text_tells_how_to_repeat_it() -> None:
    text = terminal.text(PROOFS["soak"])
    assert PROOFS["soak"].command in text and "seed 7" in text and "patroni 4.1.5" in text and "ttl 20" in text
    assert text.count("2026-03-01T10:") >= len(PROOFS["soak"].trials)


def test_what_stops_until_healed_is_judged_from_the_healing() -> None:
    trial = proofs.trial("etcd-all-stop", outage=44.0, outage_began=0.0, heal_started=38.0, heal_finished=40.0)
    assert summary.bounded_seconds(trial) == 4.0
    told = "Fault etcd-all-stop stopped writes until it was healed, and then for 4.00 s; expected: at most "
    assert [line for line in wording.sentences(proofs.proof(trial)) if line.startswith(told) and line.endswith("after healing.")]
    other = dataclasses.replace(trial, prediction=Prediction(Effect.ANY, 60, ""))
    assert summary.bounded_seconds(other) == 44.0


def test_the_typical_trial_is_the_median_one() -> None:
    trials = tuple(proofs.trial(outage=seconds) for seconds in (3.0, None, 1.0, 2.0, 9.0))
    assert summary.FaultSummary("host-off", trials).typical.outage == 3.0
    assert summary.statistics_of([None]) is None


def test_a_long_series_is_thinned_and_keeps_its_gap() -> None:
    throughput = Throughput(-10.0, 0.1, tuple(0 if 100 <= i < 300 else 50 for i in range(1000)))
    times, counts = timeline_chart.downsampled(throughput, -5.0, 60.0, 100)
    assert len(times) == len(counts) <= 100
    assert times[0] == pytest.approx(-5.0) and counts[0] == 50
    assert 0 in counts and timeline_chart.downsampled(throughput, 500.0, 600.0, 100) == ([], [])


def test_files_are_written(tmp_path: Path) -> None:
    paths = files.write(tmp_path / "new" / "report", PROOFS["one"])
    assert [path.name for path in paths] == ["report.json", "report.txt", "report.html"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    again = subprocess.run(
        [sys.executable, "-m", "day2.report", str(paths[0])], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert again == paths[1].read_text()


def test_a_place_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match=re.escape(str(tmp_path / "file"))):
        files.write(tmp_path / "file" / "report", PROOFS["one"])


def test_other_tasks_do_not_wait_for_the_plotting() -> None:
    code = "import sys, tasks, day2.report, day2.report.files; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def keys_of(value: object, at: str = "") -> set[str]:
    """The keys of a document, at whatever depth, but names of settings, timers, programs, roles and faults."""
    if isinstance(value, list):
        return {key for one in value for key in keys_of(one)}
    if not isinstance(value, dict) or at in ("settings", "timers", "versions", "hosts", "units"):
        return set()
    below = {key for name, one in value.items() for key in keys_of(one, name)}
    return below if at == "faults" else below | set(value)


def test_every_key_of_the_report_and_its_format_are_explained() -> None:
    explained = (ROOT / "docs/report.md").read_text()
    found = {key for proof in PROOFS.values() for key in keys_of(document.document(proof))}
    assert {"lost", "prediction", "trials_failed", "stale_p99"} < found
    assert [key for key in sorted(found) if f"`{key}`" not in explained] == []
    assert [key for key in KEYS if f"| `{key}`" not in explained and f", `{key}`" not in explained] == []
    assert f"`{document.FORMAT}`" in explained


def test_reads_that_found_no_server_are_told_with_when_and_why_it_was_to_be_expected() -> None:
    reads = dataclasses.replace(proofs.trial().reads, failed=9, no_server=7, no_server_from=4.2, no_server_until=21.0)
    said = {name: text for name, _, text in wording.result_rows(proofs.trial(reads=reads))}["reads"]
    assert said == "9 failed, 7 of them found no server, from 4.20 s to 21.00 s after the fault"
    expecting = dataclasses.replace(proofs.trial().prediction, unread="nobody serves them until then")
    said = {name: text for name, _, text in wording.result_rows(proofs.trial(reads=reads, prediction=expecting))}["reads"]
    assert said.endswith(" after the fault. Expected: nobody serves them until then")


@pytest.mark.parametrize("form", [html.page, terminal.text, files._json])
def test_what_hosts_have_said_commands_no_terminal_that_a_report_is_read_on(form: Callable[[Proof], str]) -> None:
    evil = "\x1b]0;PWNED\x07\x1b[2J"
    trial = proofs.trial(healthy_again=None, problems=(evil,), log=(LogLine(0.5, "pg-sv01", "patroni", evil),), hosts=(evil,))
    text = form(proofs.proof(trial))
    assert "PWNED" in text
    assert not [char for char in text if not char.isprintable() and char not in "\n\t"]
