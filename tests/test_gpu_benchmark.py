"""The list of what a GPU decides runs where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_it_runs_from_end_to_end(tmp_path):
    """What is not installed is told in its row, and costs no other."""
    out = tmp_path / "gpu.md"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--out", out], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    titles = [line for line in out.read_text().splitlines() if line.startswith("#")]
    assert [title.split()[1] for title in titles] == ["On", "Machine", "Training", "Input:"]
    rows = [line.split("|")[1:-1] for line in out.read_text().splitlines() if line.startswith("| tensorflow |")]
    assert [row[2].strip() for row in rows] == ["float32", "bfloat16"] and all(
        float(row[3].replace(",", "")) > 0 for row in rows
    )
