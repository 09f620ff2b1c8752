"""MOT sequences: what boxes say, whom they leave out, what is refused."""

from pathlib import Path

import pytest

from passerby.data.video.mot import is_mot, open_mot, read_boxes
from passerby.errors import PasserbyError


def sequence(folder: Path, boxes: str, kind: str = "gt", info: str = "[Sequence]\nframeRate=12.5\n") -> Path:
    (folder / "img1").mkdir(parents=True)
    (folder / kind).mkdir()
    (folder / kind / f"{kind}.txt").write_text(boxes)
    (folder / "seqinfo.ini").write_text(info)
    return folder


def test_truth_counts_from_one_and_knows_who_counts(tmp_path: Path) -> None:
    lines = [
        "1,7,11,21,30,60,1,1,1.0",
        "1,8,1,1,10,20,0,1,1.0",  # does not count
        "1,9,1,1,10,20,1,3,1.0",  # a car
        "1,10,1,1,10,20,1,1,0.2",  # hidden
        "3, 7, 12, 22, 30, 60, 1, -1, -1",  # older sequences know neither class nor visibility
        "3,11,5,6,7,8",
        "",
    ]
    opened = open_mot(sequence(tmp_path / "a", "\n".join(lines)))
    assert (opened.fps, opened.has_truth, opened.film) == (12.5, True, None)
    boxes = read_boxes(opened)
    assert sorted(boxes) == [0, 2]
    assert boxes[0].xyxy.tolist() == [[10, 20, 40, 80]]
    assert boxes[0].identity is not None
    assert boxes[0].identity.tolist() == [7]
    assert boxes[2].identity is not None
    assert boxes[2].identity.tolist() == [7, 11]


def test_detections_have_scores_and_no_names(tmp_path: Path) -> None:
    boxes = read_boxes(open_mot(sequence(tmp_path / "a", "2,-1,1,1,10,20,0.75,-1,-1,-1\n2,-1,1,1,10,20\n", "det")))
    assert boxes[1].identity is None
    assert boxes[1].score.tolist() == [0.75, 1.0]
    # On another scale none can be held against --score.
    boxes = read_boxes(open_mot(sequence(tmp_path / "b", "2,-1,1,1,10,20,0.75\n2,-1,1,1,10,20,-0.3\n", "det")))
    assert boxes[1].score.tolist() == [1.0, 1.0]


def test_a_percent_sign_is_one(tmp_path: Path) -> None:
    opened = open_mot(sequence(tmp_path / "a", "", info="[Sequence]\nvideo=film 50%.mp4\nimDir=img%(1)s\n"))
    assert opened.film == tmp_path / "a" / "film 50%.mp4"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PasserbyError, match=r"gt\.txt, line 2: no frame,id"):
        read_boxes(open_mot(sequence(tmp_path / "a", "1,1,1,1,1,1\n1,2,three\n")))
    with pytest.raises(PasserbyError, match=r"line 1: .*counts from 1"):
        read_boxes(open_mot(sequence(tmp_path / "b", "0,1,1,1,1,1\n")))
    with pytest.raises(PasserbyError, match=r"line 1: .*an id lies below 2\^53"):
        read_boxes(open_mot(sequence(tmp_path / "large", f"1,{2**63},1,1,1,1\n")))
    latin = sequence(tmp_path / "latin", "")
    (latin / "gt" / "gt.txt").write_bytes(b"1,1,1,1,1,1 \xe9\n")
    with pytest.raises(PasserbyError, match=r"gt\.txt: cannot be read"):
        read_boxes(open_mot(latin))
    with pytest.raises(PasserbyError, match=r"seqinfo\.ini: cannot be read"):
        open_mot(sequence(tmp_path / "c", "", info="frameRate 3"))
    for rate in ("0", "inf", "nan"):
        with pytest.raises(PasserbyError, match="must be above 0, and finite"):
            open_mot(sequence(tmp_path / rate, "", info=f"[Sequence]\nframeRate={rate}\n"))
    (tmp_path / "e" / "gt").mkdir(parents=True)
    (tmp_path / "e" / "gt" / "gt.txt").write_text("")
    assert is_mot(tmp_path / "e")
    assert not is_mot(tmp_path)
    with pytest.raises(PasserbyError, match="neither frames in img1/ nor"):
        open_mot(tmp_path / "e")
