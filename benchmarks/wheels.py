"""For which systems and versions of Python every dependency has a wheel; asks the package index through `uv`.

python benchmarks/wheels.py [--extras serve,deliver] [--pythons 3.11,3.14]

By uv (`pip install uv`), as pip decides conditions such as sys_platform for the machine that it runs on.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from itertools import repeat
from pathlib import Path

from rich.progress import track

from cnn_app.cli.view import table

SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
    "Windows x64": "x86_64-pc-windows-msvc",
}
SOURCES = "promise"  # of tensorflow-datasets: Python alone, and has no wheel anywhere
ALONE = ("", "tflite-runtime")  # the latter in an environment of its own


def requirements() -> dict[str, list[str]]:
    """What each extra needs; the package itself is under ""."""
    setup = ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg", "utf-8")
    lines = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    return {extra: list(filter(None, text.split("\n"))) for extra, text in lines.items()}


def resolves(needs: list[str], system: str, python: str) -> bool:
    """Whether wheels satisfy them, with all that they need in turn."""
    command = ["uv", "pip", "compile", "-", "--quiet", "--only-binary", ":all:", "--no-binary", SOURCES,
               "--python-platform", SYSTEMS[system], "--python-version", python]  # fmt: skip
    macos = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # uv's default is older than what ONNX Runtime asks for
    done = subprocess.run(command, input="\n".join(needs), text=True, capture_output=True, env=macos)
    if done.returncode and "No solution found" not in done.stderr:
        raise SystemExit(f"uv failed: {done.stderr.strip()}")
    return not done.returncode


def told(needs: list[str], system: str, pythons: list[str]) -> str:
    """The versions of Python that have everything, and what the others lack."""
    whole, lacking = [], {}
    for python in pythons:
        if resolves(needs, system, python):
            whole.append(python)
        else:
            alone = [name(each) for each in needs if not resolves([each], system, python)]
            lacking.setdefault(", ".join(alone) or "they exclude each other", []).append(python)
    return "; ".join(
        [", ".join(whole)] * bool(whole) + [f"{', '.join(who)}: no {what}" for what, who in lacking.items()]
    )


def name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def main() -> None:
    wanted = requirements()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", default=",".join(filter(None, wanted)))
    parser.add_argument("--pythons", default="3.11,3.12,3.13")
    given = parser.parse_args()
    pythons, extras = given.pythons.split(","), ["", *given.extras.split(",")]
    cells = [(extra, system) for extra in extras for system in SYSTEMS]
    with ThreadPoolExecutor(8) as pool:  # the index takes most of the time
        needs = (wanted[extra] if extra in ALONE else wanted[""] + wanted[extra] for extra, _ in cells)
        found = pool.map(told, needs, (system for _, system in cells), repeat(pythons))
        row = dict(zip(cells, track(found, "Resolving", len(cells), transient=True), strict=True))
    names = [f"[{extra}]" if extra else "cnn-app" for extra in extras]
    table(["install", *SYSTEMS], [[name, *(row[extra, system] for system in SYSTEMS)]
                                  for name, extra in zip(names, extras, strict=True)])  # fmt: skip


if __name__ == "__main__":
    main()
