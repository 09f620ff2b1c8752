"""The command line: help that teaches, one line and exit code 2 for bad input."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from passerby.cli import app, main


def passerby(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "passerby", *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_verb() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    for verb in ("demo", "train", "evaluate", "bench", "embed", "adapt", "diagnose", "ingest", "datasets", "recipes"):
        assert re.search(rf"\b{verb}\b", shown)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, passerby.cli; print([m for m in ('torch', 'lightning', 'timm', 'numpy', 'matplotlib') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_bad_input_is_one_line_on_stderr_and_exit_code_2(tmp_path: Path) -> None:
    done = passerby("train", "baseline-mobilnetv2", "--data-root", str(tmp_path), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "passerby: recipe: no packaged recipe 'baseline-mobilnetv2'; did you mean 'baseline-mobilenetv2'? (or give a .yaml file)"
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["datasets", "check", "vipr", "--data-root", "."], "did you mean 'viper'?"),
        (["datasets", "check", "viper", "--data-root", "nowhere"], "viper"),
        (["recipes", "show", "baseline-mobilenetv2", "--set", "optimizer.lrr=1"], "did you mean 'lr'?"),
        (["recipes", "show", "baseline-mobilenetv2", "--set", "optimizer.lr"], "--set"),
        (["recipes", "show", "baseline-mobilenetv2", "--set", "optimizer=adam"], "optimizer: a section"),
        (["recipes", "show", "baseline-mobilenetv2", "--set", "method=baseline"], "method: a section"),
        (["recipes", "show", "nowhere.yaml"], "recipes list"),
        (
            ["evaluate", "m.onnx", "--data-root", ".", "--targets", "viper", "--protocol", "leave-one-source"],
            "did you mean",
        ),
        (["evaluate", "m.onnx", "--data-root", ".", "--targets", "viper", "--json", "."], "a folder"),
        (["datasets", "synth", "--out", "/dev/null/s", "--domains", "sunny-plaza"], "/dev/null"),
        (
            ["datasets", "synth-video", "--out", "/dev/null/s", "--targets", "sunny-plazza"],
            "did you mean 'sunny-plaza'?",
        ),
        (["datasets", "synth-video", "--out", "/dev/null/s", "--people", "inf"], "people=inf of a street scene"),
        (["demo", "--out", "/dev/null"], "/dev/null"),
        (["evaluate", "nowhere", "--data-root", ".", "--targets", "viper"], "nowhere"),
        (["embed", "nowhere", "--images", "nowhere", "--out", "out.npz"], "no such folder"),
    ],
)
def test_errors(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["passerby", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("passerby: ")
    assert message in error
    assert error.count("\n") == 1


def test_recipes_list_and_show() -> None:
    listed = CliRunner().invoke(app, ["recipes", "list"]).output
    assert "baseline-mobilenetv2" in listed
    shown = (
        CliRunner()
        .invoke(app, ["recipes", "show", "baseline-mobilenetv2", "--budget", "quick", "--set", "optimizer.lr=1e-2"])
        .output
    )
    assert "max_steps: 960" in shown
    assert "lr: 0.01" in shown


def test_datasets_list() -> None:
    listed = CliRunner().invoke(app, ["datasets", "list"]).output
    assert "market1501" in listed
    assert "29,419" in listed


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--bogus"],
        ["train"],
        ["nothing"],
        ["bench", "--seeds", "0"],
        ["ingest", "a.mp4", "--out", "s", "--workers", "0"],
        ["train", "a", "--budget", "fast"],
    ],
)
def test_usage_errors_end_with_2_and_no_traceback(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "Error" in done.output
    assert "Traceback" not in done.output


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import passerby.commands.recipes as recipes

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "there/out.json")

    monkeypatch.setattr(recipes, "show_recipe", refused)
    monkeypatch.setattr(sys, "argv", ["passerby", "recipes", "show", "baseline-mobilenetv2"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "passerby: there/out.json: no space left on device; free room there, or choose another place\n"
    )
