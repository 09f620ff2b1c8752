"""A page of cards is self-contained, escaped, and whole or not there."""

from pathlib import Path

import pytest

from passerby.report import page
from passerby.report.cards import Card
from passerby.report.page import write_page

CARD = Card("A & B", "<svg><path d='M 0 0'/></svg>", "it's <so>", "a picture")


def test_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_page(path, "Title <1>", "all is well", [("distance", "1 < 2")], [CARD, CARD])
    text = path.read_text(encoding="utf-8")
    assert "<title>Title &lt;1&gt;</title>" in text
    assert text.count("all is well") == 1
    assert "<dt>distance</dt><dd>1 &lt; 2</dd>" in text
    assert text.count("<svg><path d='M 0 0'/></svg>") == 2  # pictures go in as they are
    assert text.count("<h3>A &amp; B</h3>") == 2
    assert "&lt;so&gt;" in text
    assert "<style>" in text
    assert "<script" not in text
    assert "http" not in text


def test_an_old_page_stays_when_the_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    write_page(path, "old", "v", [], [])
    old = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_page(path, "new", "v", [], [])
    assert path.read_text() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
