"""The list of planted mistakes is true: each can be planted, and the tests that are to notice it are there."""

import sys
from pathlib import Path

import pytest
from mutations import Mistake, listed, main, unfit

ROOT = Path(__file__).parents[1]


def test_every_mistake_can_be_planted_and_changes_something():
    mistakes = listed([])
    assert unfit(mistakes, ROOT) == [] and len(mistakes) > 80
    assert [mistake for mistake in mistakes if mistake.text == mistake.replacement] == []
    named = {place.partition("::") for mistake in mistakes for place in mistake.tests.partition(" -k ")[0].split()}
    assert [file for file, _, test in named if f"def {test}" not in (ROOT / file).read_text(encoding="utf-8")] == []


def test_what_stands_elsewhere_or_twice_is_told():
    lines = unfit([Mistake("Makefile", "no such text", "", ""), Mistake("Makefile", "test", "", "")], ROOT)
    assert lines[0] == "Makefile has 'no such text' 0 times, not once; mend it in mistakes.toml"
    assert len(lines) == 2 and " times, not once" in lines[1]


def test_those_of_a_file_and_their_commands():
    assert {mistake.file for mistake in listed(["export/golden.py"])} == {"cnn_app/export/golden.py"}
    command = Mistake("x", "a", "b", "tests/test_a.py tests/test_b.py -k this or that").command()
    assert command == ("tests/test_a.py", "tests/test_b.py", "-k", "this or that")


def test_a_file_without_mistakes_is_told(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mutations.py", "nowhere.py"])
    with pytest.raises(SystemExit, match="no mistake is listed for nowhere.py; known: .*export/golden.py"):
        main()
