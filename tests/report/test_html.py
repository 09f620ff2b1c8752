import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from passerby.errors import PasserbyError
from passerby.evaluation.measure import Measurement
from passerby.evaluation.records import Record
from passerby.report.galleries import best_and_worst
from passerby.report.html import percent, write_report

Make = Callable[..., Measurement]
MakeRecord = Callable[..., Record]

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """A parsed page: elements with their attributes, ids, and every address that an attribute holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @property
    def ids(self) -> list[str]:
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]

    @property
    def addresses(self) -> list[str]:
        names = ("href", "src", "srcset", "xlink:href", "poster", "action", "data")
        return [attrs[name] for _, attrs in self.elements for name in names if name in attrs]

    @property
    def words(self) -> str:
        """The text of the page without tags, styles and runs of spaces."""
        return unescape(re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", self.text, flags=re.DOTALL)))

    def count(self, tag: str, **wanted: str) -> int:
        """Elements of that tag whose class holds all words of `class_`."""
        classes = set(wanted.get("class_", "").split())
        return sum(t == tag and classes <= set(attrs.get("class", "").split()) for t, attrs in self.elements)


def report(
    tmp_path: Path, measurements: list[Measurement], records: list[Record], title: str = "A title", intro: str = ""
) -> Page:
    path = tmp_path / "out" / "report.html"
    write_report(path, title, records, measurements, intro)
    return Page(path.read_text(encoding="utf-8"))


def test_every_section_is_there(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurements = [make("plaza"), make("night", people=14, noise=2)]
    records = [record(m) for m in measurements]
    page = report(tmp_path, measurements, records, intro="In-domain is one thing,\nunseen is another.")
    assert "<h1>A title</h1>" in page.text
    assert "In-domain is one thing, unseen is another." in page.words
    assert {"results", "measured", "target-1", "target-2"} <= set(page.ids)
    assert page.count("svg") == 1 + 2 * 2  # CMC, and for each target its scores and its map
    assert page.words.count("Answered best") == page.words.count("Answered worst") == 2
    for fact in (
        *(
            "0123456789ab ",
            "baseline-tiny trainer.lr=0.1",
            "one, two",
            "quick, 960 steps",
            "1.5 min, 1,500 MiB at most",
            "last step",
        ),
        *(
            "free",
            "plaza-2-abc123",
            "night-2-abc123",
            "cam_a → cam_b",
            "passerby 0.1.0",
            "2026-01-02",
            "Linux x86_64",
            "cosine",
        ),
    ):
        assert fact in page.words, fact
    for entry in records:
        for values in entry.metrics.values():
            assert f"{percent(values.mean)} ± {percent(values.std)}" in page.words
            if values.low is not None and values.high is not None:
                assert f"{percent(values.low)} – {percent(values.high)}" in page.words
    average = 100 * sum(r.metrics["rank1"].mean for r in records) / 2
    assert f"average {average:.1f} " in page.words


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make: Make, record: MakeRecord) -> Page:
    """The report of two targets of one name."""
    measurements = [make("a"), make("a", people=13)]
    return report(tmp_path_factory.mktemp("page"), measurements, [record(m) for m in measurements])


def test_it_loads_nothing(page: Page) -> None:
    for address in page.addresses:
        assert address.startswith(("data:image/jpeg;base64,", "#")), address[:80]
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\((?!#)", page.text)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "base"}
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page.text)
    assert "://" not in without_namespaces


def test_ids_are_unique(page: Page) -> None:
    assert len(set(page.ids)) == len(page.ids)


def test_frames_and_signs_agree_with_identities(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make(noise=1.5, people=20)
    page = report(tmp_path, [measurement], [record(measurement)])
    tiles = [
        tile
        for rows in best_and_worst(measurement)
        for answer in rows
        for tile in (*answer.tiles, *((answer.first_right,) if answer.first_right else ()))
    ]
    # A picture's title is its file name, which says whom it shows: plaza-g7.png is person 7.
    found = re.findall(
        r'<figure class="tile (right|wrong)" title="([^:"]+): ([^"]+)">.*?'
        r'<span class="sign" aria-hidden="true">(.)</span>.*?<b>([-.\d]+)</b>',
        page.text,
        re.DOTALL,
    )
    assert found == [
        ("right" if t.right else "wrong", t.sample.image.name, t.who, "✓" if t.right else "✗", f"{t.score:.3f}")
        for t in tiles
    ]
    assert {frame for frame, *_ in found} == {"right", "wrong"}
    blocks = page.text.split('<div class="answer">')[1:]
    assert len(blocks) == 10
    for block in blocks:
        query = re.search(r'title="plaza-q(\d+).png"', block)
        assert query is not None
        for frame, name in re.findall(r'class="tile (right|wrong)" title="([^:]+):', block):
            assert (frame == "right") == (name == f"plaza-g{query[1]}.png")


def test_the_first_right_one_is_shown_where_it_stands(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make(people=30, noise=9)
    page = report(tmp_path, [measurement], [record(measurement)])
    far = [a.first_right for rows in best_and_worst(measurement) for a in rows if a.first_right]
    assert far
    assert re.findall(r'<div class="far"><p>first right at rank (\d+)</p>', page.text) == [str(t.rank) for t in far]


def test_every_picture_has_an_alternative_text(page: Page) -> None:
    pictures = [attrs for tag, attrs in page.elements if tag == "img"]
    assert pictures
    assert all(attrs.get("alt") for attrs in pictures)
    drawings = [attrs for _, attrs in page.elements if attrs.get("class") == "chart"]
    assert [d["role"] for d in drawings] == ["img"] * 5
    assert all(d["aria-label"] for d in drawings)


def test_everything_is_escaped(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    evil = '<img src=x onerror="a">&'
    name = "<b>&'x'"
    measurement = make(name)
    entry = record(measurement, model=evil, split_id=evil, direction=evil, machine=evil)
    page = report(tmp_path, [measurement], [entry], title=evil, intro=evil)
    assert "<img src=x" not in page.text
    assert "<b>&" not in page.text
    # Title (of the window too), introduction, model, split id, direction, machine.
    assert page.words.count(evil) == 7
    titles = [attrs["title"] for tag, attrs in page.elements if tag == "figure" and "query" in attrs["class"]]
    assert all(title.startswith(f"{name}-q") for title in titles)


def test_one_split_has_no_deviation_and_no_band(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make(splits=1)
    page = report(tmp_path, [measurement], [record(measurement)])
    assert "±" not in page.words
    assert "Bands" not in page.words
    assert "average " not in page.words.replace("average precision", "")


def test_in_domain_and_unseen_are_told_apart_and_not_averaged(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurements = [make(name, splits=1) for name in ("one", "two", "three")]
    records = [record(measurement) for measurement in measurements]
    page = report(tmp_path, measurements, records)
    # The model was trained on `one` and `two`.
    assert re.findall(r'<h2>(\w+) <span class="chip">([\w-]+)</span></h2>', page.text) == [
        ("one", "in-domain"),
        ("two", "in-domain"),
        ("three", "unseen"),
    ]
    average = 100 * (records[0].metrics["mAP"].mean + records[1].metrics["mAP"].mean) / 2
    rows = re.findall(r'<tfoot>\s*<tr><th scope="row">([^<]+)</th>(.*?)</tr>\s*</tfoot>', page.text)
    assert [label for label, _ in rows] == ["average in-domain", "average in-domain"]
    assert f"<b>{average:.1f}</b>" in rows[0][1]
    assert "three (unseen)" in page.words


def test_small_gallery_and_one_query(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make(people=1, splits=1, distractors=2)
    page = report(tmp_path, [measurement], [record(measurement)])
    assert (page.count("figure", class_="tile right"), page.count("figure", class_="tile wrong")) == (1, 2)
    assert "Answered worst" not in page.words


def test_reranked_and_flipped_and_trained_elsewhere(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make(reranked=True)
    page = report(tmp_path, [measurement], [record(measurement, training=None, flip_averaged=True)])
    assert "cosine, re-ranked" in page.words
    assert "flip averaging yes" in page.words
    assert "trained elsewhere" in page.words
    assert re.search(r"<b>-0\.\d{3}</b>", page.text)


def test_a_picture_that_is_gone_leaves_a_box_with_the_reason(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make(people=3)
    entry = record(measurement)
    for sample in measurement.target.samples:
        if "-g" in sample.image.name:
            sample.image.unlink()
    page = report(tmp_path, [measurement], [entry])
    assert "no such image file" in page.words
    assert page.count("span", class_="unreadable") >= 3


def test_a_note_of_the_target_is_shown(tmp_path: Path, make: Make, record: MakeRecord) -> None:
    measurement = make()
    measurement = replace(measurement, target=replace(measurement.target, note="not the official partitions"))
    assert "not the official partitions" in report(tmp_path, [measurement], [record(measurement)]).words


def test_cameras_that_are_unknown_are_not_shown(tmp_path: Path, page: Page, make: Make, record: MakeRecord) -> None:
    unknown = make(cameras=False)
    assert "cam 1" in page.words
    assert "cam 1" not in report(tmp_path, [unknown], [record(unknown)]).words


def test_records_of_other_targets_are_refused_and_the_old_report_stays(
    tmp_path: Path, make: Make, record: MakeRecord
) -> None:
    measurement, path = make(), tmp_path / "report.html"
    path.write_text("old")
    for records in ([], [record(measurement, target="other")], [record(measurement)] * 2):
        with pytest.raises(PasserbyError, match="one of each for every target"):
            write_report(path, "t", records, [measurement])
    assert path.read_text() == "old"


def test_it_reads_light_and_dark_on_a_phone_and_on_paper(page: Page) -> None:
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements
    for query in ("prefers-color-scheme: dark", "max-width", "print"):
        assert re.search(rf"@media [^{{]*{query}", page.text)
