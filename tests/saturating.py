"""Processors on which ONNX Runtime's 8-bit products overflow 16 bits: x86 without VNNI, where answers differ."""

import platform
from pathlib import Path

import pytest

INFO = Path("/proc/cpuinfo")
IS_SO = platform.machine() == "x86_64" and INFO.exists() and "_vnni" not in INFO.read_text()
skipped = pytest.mark.skipif(IS_SO, reason="8-bit products saturate on this processor")


def marked(name: str):
    """A parameter that is skipped where an 8-bit ONNX file answers otherwise."""
    return pytest.param(name, marks=skipped) if name.endswith("int8.onnx") else name
