"""Sentences as an input: cutting, vocabulary, layouts, what is refused, and a small network in every format."""

import csv
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import cnn_app
from cnn_app import data as sources
from cnn_app import inputs, tasks
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.data.dataset import Split
from cnn_app.errors import DataError, ExportError
from cnn_app.export import golden, saved_model
from cnn_app.inputs.text import MARGIN, Text, words_of
from cnn_app.jobs import sources as jobs
from cnn_app.recipe import Data, Schedule, Transfer
from cnn_app.runtimes import open_model
from cnn_app.tasks.classification import Classification

SMALL = {"width": 8, "maps": 6, "length": 16}
GOOD, BAD, PLAIN = ("good", "fine", "great", "warm"), ("bad", "poor", "awful", "cold"), ("a", "film", "with", "it", "!")
TARGETS = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "tflite-dynamic", "onnx", "onnx-int8")
NEAR = {"saved_model": 1e-6, "tflite-float32": 1e-5, "onnx": 1e-5}  # others round
SHORT = ("-c", "width=8", "-c", "maps=4", "-c", "length=16", "--epochs", "1", "--batch", "4", "--out", "m")


def sentences(rng, known, count):
    """Two words of a class among three that say nothing."""
    return [" ".join(rng.permutation([*rng.choice(known, 2), *rng.choice(PLAIN, 3)])) for _ in range(count)]


def write(folder, classes, name=""):
    """A file for each class, a sentence a line."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for label, lines in classes.items():
        (folder / name / label).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def table(path, rows, columns=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data") / "reviews", np.random.default_rng(0)
    for name, count in (("train", 40), ("val", 12), ("test", 12)):
        write(folder, {"glad": sentences(rng, GOOD, count), "sad": sentences(rng, BAD, count)}, name)
    return folder


@pytest.fixture(scope="module")
def trained(reviews, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "moods"
    cnn_app.train(
        "text_cnn", str(reviews), out, columns=SMALL, schedule=Schedule(epochs=8, batch=8, lr=0.02, augment=())
    )
    return out


def invoked(*arguments, stdin=None):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)


def line(*arguments):
    """The one line on stderr of a command that fails before any step."""
    result = invoked(*arguments)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and not result.stdout, result.output
    return result.stderr


def loaded(place, **more):
    task = Classification(input=Text(16, 100))
    return task.load(Data(source=str(place), **more))


# --- words and ids


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A good film.", ["a", "good", "film", "."]),
        ("It's what, they'd say, we've got", ["it", "'s", "what", ",", "they", "'d", "say", ",", "we", "'ve", "got"]),
        ("I can't, won't and don't", ["i", "ca", "n't", ",", "wo", "n't", "and", "do", "n't"]),
        ("I'm sure you're right: he'll go", ["i", "'m", "sure", "you", "'re", "right", ":", "he", "'ll", "go"]),
        ("well-made (really)!?", ["well", "-", "made", "(", "really", ")", "!", "?"]),
        ("ÄRGER über STRASSE, Ёлка ÇA", ["ärger", "über", "strasse", ",", "ёлка", "ça"]),
        ("naïve cafe\u0301 größe", ["naïve", "cafe\u0301", "größe"]),  # a combining accent stays with its letter
        ("映画 100 good", ["映画", "100", "good"]),
        ("\ttwo  gaps \r\n", ["two", "gaps"]),
        ("so good 🙂", ["so", "good", "🙂"]),
        ("  ", []),
    ],
)  # fmt: skip
def test_a_sentence_is_cut_into_words(text, words):
    assert [word.decode() for word in words_of([text])[0].numpy()] == words


def test_ids_stand_behind_a_margin_of_padding():
    """0 is padding, 1 what is unknown; words that are too many are left out."""
    text = Text(2 * MARGIN + 4, 6, ("the", "cat", "sat", "."))
    found = text.ids(["the cat sat .", "The DOG", "", "the cat sat . the cat"]).numpy()
    assert found.dtype == np.int32 and found.shape == (4, 12)
    np.testing.assert_array_equal(found[:, :MARGIN], 0)
    np.testing.assert_array_equal(found[:, -MARGIN:], 0)
    assert found[:, MARGIN:-MARGIN].tolist() == [[2, 3, 4, 5], [2, 1, 0, 0], [0, 0, 0, 0], [2, 3, 4, 5]]


def test_an_encoded_record_is_decoded_again():
    text = Text(16, 5, ("a", "good", "film"))
    record = text.decoder()(b"A good unknown film")
    assert record["tokens"].tolist() == [0] * 4 + [2, 3, 1, 4] + [0] * 8
    assert text.encode(record) == b"a good film" and text.load(text.example(), "x")["tokens"].shape == (16,)


def test_a_table_leaves_nothing_that_later_graphs_are_written_with(tmp_path):
    """TensorFlow would warn of it at the export of any other network, of an ONNX file for example."""
    text = Text(16, 5, ("a", "good", "film"))
    inside = tf.function(text.ids, input_signature=[tf.TensorSpec((None,), tf.string)]).get_concrete_function()
    assert inside(tf.constant(["a film"])).numpy()[0, MARGIN : MARGIN + 2].tolist() == [2, 4]
    (tmp_path / "labels.txt").write_text("glad\nsad\n")
    assert saved_model._table(tmp_path / "labels.txt").lookup(tf.constant([1], tf.int64)).numpy() == [b"sad"]
    later = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec((), tf.float32))
    assert not later.graph.get_collection("table_initializer")


def split(*lines):
    return Split(list(map(str, range(len(lines)))), Text(16, 100).raw([line.encode() for line in lines]))


def test_the_vocabulary_has_the_most_frequent_words_first():
    """Equally frequent ones in the order of the alphabet; the table has two rows more."""
    given = split("b b b a a", "c d a", "d c é")
    assert Text(16, 100).fitted(given).vocabulary == ("a", "b", "c", "d", "é")
    few = Text(16, 5).fitted(given)
    assert few.vocabulary == ("a", "b", "c") and few.words == 5 and few.columns() == {"length": 16, "words": 5}
    assert Text(16, 100).fitted(given).words == 7
    assert few.fitted(split("new words")) == few  # those of a model are its own


def test_facts_make_an_equal_value():
    text = Text(16, 4, ("größe", "b"))
    assert inputs.of_facts(json.loads(json.dumps(text.facts()))) == text
    assert inputs.of_specs(text.specs()) is None  # numbers do not say which words they stand for


# --- layouts


def test_files_of_sentences_by_class_with_and_without_splits(tmp_path):
    flat = write(
        tmp_path / "flat", {"glad.txt": [f"good {i}" for i in range(40)], "sad": [f"bad {i}" for i in range(40)]}
    )
    found = loaded(flat)
    assert found.labels == ("glad", "sad") and sum(found.counts().values()) == 80
    assert all(name.startswith(("glad.txt:", "sad:")) for name in found.splits["train"].names)
    parted = tmp_path / "parted"
    for name in ("train", "val", "test"):
        write(parted, {"glad": [f"good {name}"], "sad": [f"bad {name}", "worse"]}, name)
    found = loaded(parted)
    assert found.counts() == {"train": 3, "val": 3, "test": 3}
    assert list(found.splits["val"].inputs["tokens"].array) == [b"good val", b"bad val", b"worse"]
    assert list(found.splits["val"].names) == ["val/glad:1", "val/sad:1", "val/sad:2"]
    assert found.splits["val"].targets["class"].array.tolist() == [0, 1, 1]


def test_tables_with_text_and_label(tmp_path):
    rows = [
        (f'{word} "one", {i}\nof two lines', label)
        for i in range(40)
        for word, label in (("good", "glad"), ("bad", "sad"))
    ]
    found = loaded(table(tmp_path / "one.csv", rows))
    assert found.labels == ("glad", "sad") and sum(found.counts().values()) == 80
    for name, part in (("train", rows[:20]), ("val", rows[20:30]), ("test", rows[30:])):
        table(tmp_path / f"{name}.csv", [(*row, "more") for row in part], ("text", "label", "note"))
    (tmp_path / "one.csv").unlink()
    found = loaded(tmp_path)
    assert found.counts() == {"train": 20, "val": 10, "test": 50} and found.splits["train"].names[0] == "train.csv:3"
    assert found.splits["train"].inputs["tokens"].array[0] == b'good "one", 0\nof two lines'


@pytest.mark.slow
def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_words(tmp_path, trained):
    (tmp_path / "good").write_bytes(b"\xef\xbb\xbffine one\r\nand two\r\n")
    (tmp_path / "bad").write_bytes(b"bad\r\nworse\r\n")
    names, records = Text(16, 100).by_class(tmp_path, tmp_path, "utf-8")["good"]
    assert names == ["good:1", "good:2"]
    assert [words_of([record])[0].numpy().tolist() for record in records] == [[b"fine", b"one"], [b"and", b"two"]]
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbfgood\r\nbad\r\n")
    assert [found.error for found in cnn_app.predict(trained, tmp_path / "lines.txt")] == [None, None]


def test_arrays_of_sentences(reviews):
    texts = np.array([b"good", b"bad"] * 40, object)
    given = sources.arrays({"train": (texts, np.arange(80) % 2)}, ("glad", "sad"), input="tokens")
    task = Classification(input=Text(16, 4, ("good", "bad")))
    found = jobs.prepared(task, task.load(given), given)
    inputs, targets = next(pipeline.arrays(found.splits["train"], 8))
    np.testing.assert_array_equal(inputs["tokens"][:, MARGIN] - 2, targets["class"])


# --- what is refused


def parts(folder, **changed):
    """Two files of two sentences for train and val; bytes that are given replace one."""
    for name in ("train", "val"):
        write(folder, {"glad": ["good", "fine"], "sad": ["bad", "poor"]}, name)
    for name, content in changed.items():
        (folder / name.replace("_", "/")).write_bytes(content)
    return folder


BROKEN = {
    "an empty sentence": ({"train_glad": b"good\n \nfine\n"}, "cannot read train/glad:2: it is empty"),
    "not UTF-8": ({"val_sad": "bad\nschön\n".encode("latin-1")}, "val/sad:2 is not utf-8; --encoding names another"),
    "an empty file": ({"train_glad": b"\n\n"}, "train/glad has no sentences; add one a line or remove it"),
    "a class of val alone": ({"val_mild": b"so\n"}, "val has the class 'mild', which train lacks"),
    "an endless sentence": ({"train_sad": b"bad " * 2**19 + b"\n"}, "train/sad:1: it has more than 1 MiB"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_sentence_is_told_with_its_line_before_any_step(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    changed, told = BROKEN[case]
    parts(tmp_path / "data", **changed)
    assert told in line("train", "text_cnn", *SHORT, "--data", "data")
    assert not (tmp_path / "m").exists()


TABLES = {
    "other columns": ("sentence,label\na,b\n", "x.csv has the columns sentence, label; text and label are needed"),
    "nothing": ("", "x.csv has no columns; text and label are needed"),
    "no label": ("text,label\ngood,glad\nbad,\n", "x.csv:3 has no label"),
    "one class": ("text,label\n" + "good,glad\n" * 40, "has one class only (glad)"),
    "a short line": ("text,label\ngood\n", "x.csv:2 has no label"),
}


@pytest.mark.parametrize("case", TABLES)
def test_what_is_no_table_is_told(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, told = TABLES[case]
    (tmp_path / "x.csv").write_text(content)
    assert told in line("train", "text_cnn", *SHORT, "--data", "x.csv")


def test_another_encoding_is_read_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts(tmp_path / "data", train_glad="schön\nfein\n".encode("latin-1"))
    result = invoked("train", "text_cnn", *SHORT, "--data", "data", "--encoding", "latin-1")
    assert result.exit_code == 0, result.output
    card = ModelDir("m").read_card()
    assert card.input["vocabulary"] == ["bad", "fein", "poor", "schön"] and card.data["encoding"] == "latin-1"
    assert jobs.trained_on(ModelDir("m")).encoding == "latin-1"
    assert "'nope' is no encoding" in line(
        "train", "text_cnn", *SHORT, "--data", "data", "--encoding", "nope", "--overwrite"
    )


def test_bad_sentences_can_be_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts(tmp_path / "data", train_glad=b"good\n\nfine\n")
    result = invoked("train", "text_cnn", *SHORT, "--data", "data", "--on-bad-image", "skip")
    assert result.exit_code == 0 and "left out 1: train/glad:2: it is empty" in result.stderr
    assert ModelDir("m").read_card().data["counts"]["train"] == 4


@pytest.mark.parametrize(("network", "data", "told"), [
    ("text_cnn", "digits", "digits has image, class; tokens and class are needed"),
    ("text_cnn", "nowhere", "no data at 'nowhere'"),
    ("lenet5", "data", "has no classes with images in it"),
])  # fmt: skip
def test_other_kinds_of_data_are_refused(tmp_path, monkeypatch, network, data, told):
    monkeypatch.chdir(tmp_path)
    parts(tmp_path / "data")
    columns = SHORT if network == "text_cnn" else SHORT[6:]
    assert told in line("train", network, *columns, "--data", data)


def test_what_sentences_are_not_changed_by(reviews, tmp_path):
    asked = ("train", "text_cnn", *SHORT[:-1], tmp_path / "m", "--data", reviews)
    assert "sentences for classification cannot be changed by 'flip'" in line(*asked, "--augment", "flip")


# --- a model


def test_it_learns_and_its_card_has_the_vocabulary(trained, reviews):
    card = ModelDir(trained).read_card()
    vocabulary = card.input["vocabulary"]
    assert card.metrics["test"]["top1"] == 1.0 and card.metrics["test"]["n"] == 24
    assert set(vocabulary) == {*GOOD, *BAD, *PLAIN} and card.columns["words"] == len(vocabulary) + 2
    assert card.input | {"vocabulary": ()} == {"kind": "text", "length": 16, "words": 15, "vocabulary": ()}
    words = np.asarray(cnn_app.load_model(trained).get_layer("words_learned").table)
    np.testing.assert_array_equal(words[0], 0)
    assert cnn_app.evaluate(trained, str(reviews)).report.top1 == 1.0


def test_answers_to_what_people_type(trained, tmp_path):
    (tmp_path / "lines.txt").write_text("a good film\n\nbad !\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.txt").write_text("awful")
    lines, folder = str(tmp_path / "lines.txt"), str(tmp_path / "folder")
    asked = ["a Fine film", "zork zork", "", " ", "-", lines, folder, str(tmp_path / "not.txt")]
    found = cnn_app.predict(trained, asked, stdin=io.BytesIO(b"warm\nsch\xf6n\n"))
    told = [row.answer["top"][0]["label"] if row.answer else str(row.error) for row in found]
    assert told == [
        "glad",
        "cannot read zork zork: the model knows none of its words",
        "cannot read a sentence: it is empty",
        "cannot read a sentence: it is empty",
        "glad",
        "cannot read standard input:2: it is not UTF-8 at byte 3",
        "glad",
        f"cannot read {lines}:2: it is empty",
        "sad",
        "sad",
        f"cannot read {tmp_path}/not.txt: No such file or directory",
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none has no text files in it \(\.txt\)"):
        cnn_app.predict(trained, tmp_path / "none")


def test_predict_writes_sentences_and_answers(trained, tmp_path):
    result = invoked("predict", trained, "good film, great", "bad", "--out", tmp_path / "x.csv", "--top", "1")
    assert result.exit_code == 0 and result.stdout.splitlines()[0].startswith("good film, great: glad 0.")
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert [(row["text"], row["label1"]) for row in rows] == [("good film, great", "glad"), ("bad", "sad")]


def test_the_saved_model_takes_strings(trained):
    cnn_app.export(trained, ("saved_model",))
    (place,) = (trained / "serving").iterdir()
    signatures = tf.saved_model.load(str(place)).signatures
    assert set(signatures) == {"serving_default", "text", "features"}
    texts = ["a good film", "Bad, isn't it", "zork"]
    found = signatures["text"](text=tf.constant(texts))
    task = tasks.of(open_model(trained))
    tokens = task.input.ids(texts)
    wanted = open_model(trained).run({"tokens": tokens.numpy()})["probabilities"]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-6)
    np.testing.assert_allclose(signatures["serving_default"](tokens=tokens)["probabilities"], wanted, atol=1e-6)
    assert [row[0].decode() for row in found["classes"].numpy()[:2]] == ["glad", "sad"]
    assert signatures["features"](tokens=tokens)["features"].shape == (3, 18)
    assert golden.check(place).passed


@pytest.mark.slow
def test_every_format_agrees(trained, reviews):
    """TFLite has no lookup in 16 bits, which is told before any work."""
    with pytest.raises(ExportError, match=r"tflite-int16x8 has no kernel for words_learned \(WordTable\)"):
        cnn_app.export(trained, ("tflite-int16x8",))
    found = cnn_app.export(trained, TARGETS, force=True)
    assert [result.target for result in found] == list(TARGETS)
    for result in found:
        assert result.drop <= 0 and result.agreement == 1.0 and result.n == 24
        assert result.max_difference < NEAR.get(result.target, 0.05), result.target
    for entry in ModelDir(trained).read_exports():
        path = trained / entry["path"]
        runtime = open_model(path)
        assert tasks.of(runtime) == tasks.of(open_model(trained)), path
        assert [(spec.dtype, spec.shape) for spec in runtime.inputs.values()] == [("int32", (None, 16))]
        assert golden.check(path).passed
        (good,) = cnn_app.predict(path, "a great film")
        assert good.answer["top"][0]["label"] == "glad"
    files = [trained / entry["path"] for entry in ModelDir(trained).read_exports()]
    assert cnn_app.evaluate(files[:3], str(reviews)).ensemble.top1 == 1.0


# --- going on from it


@pytest.mark.slow
def test_a_models_own_vocabulary_is_kept(trained, tmp_path):
    """Also where other words are frequent and the classes are others; the head is new then."""
    rng = np.random.default_rng(1)
    kinds = {"glad": GOOD, "sad": BAD, "so": ("new", "words", "only")}
    data = write(tmp_path / "three", {label: sentences(rng, known, 30) for label, known in kinds.items()})
    card = cnn_app.finetune(trained, str(data), tmp_path / "tuned", schedule=Schedule(epochs=2, batch=8, augment=()))
    before = ModelDir(trained).read_card()
    assert card.labels == ("glad", "sad", "so") and card.input == before.input
    assert card.columns == before.columns | {"classes": 3}
    assert "new" not in card.input["vocabulary"] and card.metrics["test"]["top1"] > 0.5


@pytest.mark.slow
def test_word_vectors_are_read_for_the_words_of_the_data(reviews, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    known = {word: rng.normal(size=4).astype(np.float32) for word in (*GOOD, *BAD, "zork")}
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"{word} {' '.join(map(repr, map(float, row)))}\n" for word, row in known.items()))
    out, columns = tmp_path / "m", {"width": 4, "maps": 6, "length": 16}
    schedule, transfer = Schedule(epochs=3, batch=8, lr=0.01, augment=()), Transfer(weights=str(vectors))
    card = cnn_app.finetune("text_cnn_static", str(reviews), out, columns=columns, transfer=transfer, schedule=schedule)
    rows = np.asarray(cnn_app.load_model(out).get_layer("words_fixed").table)
    vocabulary = card.input["vocabulary"]
    for word in (*GOOD, *BAD):
        np.testing.assert_array_equal(rows[vocabulary.index(word) + 2], known[word])  # training left it as it was
    assert not rows[0].any() and np.abs(rows[vocabulary.index("film") + 2]).max() <= 0.25
    assert "zork" not in vocabulary and card.metrics["test"]["top1"] > 0.8
    ask = ("finetune", "text_cnn_static", "--data", reviews, "--out", tmp_path / "n", "-c", "length=16")
    assert "vectors.txt has vectors of 4 values; 8 are needed" in line(*ask, "-c", "width=8", "--from", vectors)
    assert "cannot read" in line(*ask, "--from", tmp_path / "none.vec")
    (tmp_path / "strange.txt").write_text("zork 1 2 3 4\n")
    assert "has vectors for none of the 13 words" in line(*ask, "-c", "width=4", "--from", tmp_path / "strange.txt")
    assert "no ImageNet weights are known to be published for text_cnn_static" in line(*ask)


@pytest.mark.slow
def test_models_of_several_vocabularies_are_one_ensemble(trained, reviews, tmp_path):
    other = tmp_path / "other"
    cnn_app.train("text_cnn", str(reviews), other, columns=SMALL | {"length": 20, "words": 8},
                  schedule=Schedule(epochs=1, batch=8, augment=()))  # fmt: skip
    found = cnn_app.evaluate([trained, other], str(reviews))
    assert found.reports[str(trained)].top1 == 1.0 and found.ensemble.n == 24
