"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

from passerby.memory import keep_freed_memory

PROGRAM = """
import sys
from pathlib import Path
import torch
from passerby.memory import keep_freed_memory

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "keep":
    assert keep_freed_memory()
big = torch.ones(64 * 2**20 // 4)
held = resident()
del big
print(held - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_what_is_freed_is_kept() -> None:
    given_back = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("keep", "give back")
    }
    assert given_back["give back"] > 60 * 2**20
    assert given_back["keep"] < 4 * 2**20


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
