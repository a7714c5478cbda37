"""What a file says of itself, as JSON and as texts, read back; and what is not ours or damaged."""

import json
from dataclasses import asdict, replace

import pytest

from cnn_app.errors import ArtifactError
from cnn_app.runtimes.about import About, of_json, of_texts

ABOUT = About(
    task="segmentation", input={"kind": "image", "image": [8, 8, 3]}, labels=("zebra", "Äpfel", "ape"),
    options={"loss": "both"}, name="12", description="[1]", author="null", license="true", version="3",
    data_sha256="d", split={"seed": 0}, model_sha256="m",
)  # fmt: skip


def test_all_of_it_is_read_back_in_its_order():
    assert of_json(ABOUT.json(), "x") == ABOUT
    assert of_json(json.dumps({"cnn_app": asdict(ABOUT)}), "x", "cnn_app") == ABOUT
    assert all(isinstance(text, str) for text in ABOUT.texts().values())
    assert of_texts(ABOUT.texts(), "x") == ABOUT
    assert ABOUT.lines() == "zebra\nÄpfel\nape\n"


def test_what_a_later_release_adds_is_left_out():
    assert of_json(json.dumps(asdict(ABOUT) | {"mood": "good"}), "x") == ABOUT


def test_a_file_of_0_1_0_is_of_classified_images():
    found = of_json(json.dumps({"image": [8, 8, 3], "labels": ["b", "a"], "name": "old"}), "x")
    assert found == About(
        task="classification", input={"kind": "image", "image": [8, 8, 3]}, labels=("b", "a"), name="old"
    )


def test_files_of_others_say_nothing():
    assert of_texts({"description": "a network"}, "x") is None and of_texts({}, "x") is None
    assert of_json('{"keras_version": "3"}', "x", "cnn_app") is None


@pytest.mark.parametrize("data", ["null", "[]", "{", '{"task": 3, "input": {}}', '{"task": "a", "input": []}',
                                  '{"name": "x"}', '{"task": "a", "input": {}, "split": 1}', "[" * 10**5])  # fmt: skip
def test_damage_is_one_line(data):
    with pytest.raises(ArtifactError, match="what x says of itself is damaged: .*; export it again") as caught:
        of_json(data, "x")
    assert "\n" not in str(caught.value)


def test_damaged_texts_are_one_line():
    with pytest.raises(ArtifactError, match="what x says of itself is damaged"):
        of_texts(ABOUT.texts() | {"labels": "["}, "x")
    with pytest.raises(ArtifactError, match="what x says of itself is damaged"):
        of_texts(replace(ABOUT, options={}).texts() | {"options": "[]"}, "x")
