"""A tag for each word: the network by hand, files and their faults, cutting, entities as conlleval counts them, and
every door from files to a server."""

import json
import os
import signal

import browsing
import keras
import numpy as np
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app import inputs, tasks
from cnn_app.analysis.complexity import complexity
from cnn_app.architectures import window_tagger
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import arrays
from cnn_app.errors import DataError, ModelError, RecipeError, TrainingError
from cnn_app.export import golden
from cnn_app.inputs.tokens import capitals_of, cut, endings_of, keys_of
from cnn_app.inputs.words import Words
from cnn_app.jobs.rehearsal import memorise
from cnn_app.jobs.train import plan, run
from cnn_app.layers import WordsThere, WordTable
from cnn_app.recipe import Data, Schedule, Transfer
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.serving import Client
from cnn_app.tasks import bio, conll
from cnn_app.tasks.tag_report import Report, rates
from cnn_app.tasks.tagging import Tagging
from cnn_app.training import engine

LABELS = ("B-place", "B-who", "I-place", "I-who", "O")
SMALL = {"length": 12, "words": 60, "width": 8, "hidden": 16, "suffixes": 20, "dropout": 0.2}
SCHEDULE = Schedule(epochs=6, batch=8, lr=0.02, augment=())
SEEN = {"place": ("Rome", "New York", "Paris"), "who": ("Ann", "Bob Dylan", "Joan Ann")}
TEXT = "Joan Ann went to New York."


# --- the network


def test_counts_by_hand():
    """A hidden unit sees 5 words of 55 or 60 numbers; 128 words are tagged."""
    for name, width, tags, tables in (("window_tagger", 55, 9, 0), ("window_tagger_pos", 60, 45, 457 * 5)):
        counted = complexity(cnn_app.create_model(name))
        weights = 100_002 * 50 + 5 * 5 + tables + (5 * width + 1) * 300 + (300 + 1) * tags
        assert (counted.trainable, counted.macs) == (weights, 128 * (5 * width * 300 + 300 * tags))
        assert (counted.trainable, counted.macs) == REFERENCE[name][:2]


def ids(n=6, length=12, seed=0):
    """Of words, capitals and endings, with padding behind."""
    rng = np.random.default_rng(seed)
    found = np.stack([rng.integers(1, most, (n, length)) for most in (60, 5, 20)], -1).astype(np.int32)
    found[np.arange(length) >= rng.integers(3, length, (n, 1))] = 0
    return found


def test_forward_pass_by_hand_save_and_reload(tmp_path):
    """The words in front of a sentence and behind it are zeros; tables stand side by side."""
    model = cnn_app.create_model("window_tagger", **SMALL, classes=5)
    taken = ids()
    tables = [model.get_layer(f"{name}_table").get_weights()[0] for name in ("words", "capitals", "suffixes")]
    vectors = np.concatenate([table[taken[..., place]] for place, table in enumerate(tables)], -1)
    around = np.pad(vectors, ((0, 0), (2, 2), (0, 0)))
    windows = np.concatenate([around[:, i : i + 12] for i in range(5)], -1)
    (kernel, bias), (last, last_bias) = (model.get_layer(name).get_weights() for name in ("window_conv", "logits"))
    hidden = np.clip(windows @ kernel.reshape(-1, 16) + bias, -1, 1)
    logits = model.predict_on_batch(taken)
    np.testing.assert_allclose(logits, hidden @ last + last_bias, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras").predict_on_batch(taken), logits)
    deployed = Tagging(input=Words(12, 60), labels=LABELS).deployed(model)(taken)
    np.testing.assert_array_equal(deployed["there"], taken[..., 0] > 0)
    np.testing.assert_allclose(deployed["probabilities"], keras.ops.softmax(logits), atol=1e-6)
    assert [WordsThere.from_config(layer.get_config()).name for layer in (WordsThere(name="x"),)] == ["x"]
    taps = window_tagger.features(cnn_app.registry.spec("window_tagger", **SMALL), keras.Input((12, 3), dtype="int32"))
    assert {name: tap.shape[1:] for name, tap in taps.items()} == {"vectors": (12, 18), "hidden": (12, 16)}


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"window": 4}, "an odd number of words, received 4"),
        ({"hidden": 0}, "received 128, 50, 5, 5 and 0"),
        ({"length": 0}, "received 0, 50, 5, 5 and 300"),
        ({"words": 1}, "2 rows or more, received words 1 and suffixes 0"),
        ({"suffixes": 1}, "received words 100002 and suffixes 1"),
        ({"letters": 0}, "suffixes of 1 to 8 letters, received 0"),
        ({"classes": 0}, "at least one class"),
    ],
)
def test_what_cannot_be_built_is_told(columns, told):
    with pytest.raises(ModelError, match=told):
        cnn_app.create_model("window_tagger", **columns)


@pytest.mark.parametrize(("network", "head"), [("resnet20", "tagging"), ("window_tagger", "classification")])
def test_other_heads_are_refused(network, head):
    with pytest.raises(ModelError, match=f"has no head for {head}"):
        cnn_app.create_model(network, head=head)


def test_a_table_takes_one_of_several_ids():
    table = WordTable(4, 2, column=1)
    found = table(np.array([[[3, 1], [0, 2]]], np.int32))
    np.testing.assert_array_equal(found[0], table.get_weights()[0][[1, 2]])
    assert WordTable.from_config(table.get_config()).column == 1 and table.compute_output_shape((5, 7, 2)) == (5, 7, 2)


# --- words


CUTS = {  # a text, and its words with spaces between them
    TEXT: "Joan Ann went to New York .",
    "It's Bob\u2019s, they'LL see": "It 's Bob \u2019s , they 'LL see",
    "I don't, 'some say' (well-made)!?": "I don't , ' some say ' ( well-made ) ! ?",
    "see http://t.co/a?b=1, www.x.org. @bob_x #YOLO...": "see http://t.co/a?b=1 , www.x.org . @bob_x #YOLO ...",
    "$1,000.50 at 10:30 U.S.A. a.b@c.org": "$ 1,000.50 at 10:30 U.S.A. a.b@c.org",
    "sch\u00f6n\u00a0\u2013 \u00c4RGER cafe\u0301 \u6620\u753b\U0001f642!": (
        "sch\u00f6n \u2013 \u00c4RGER cafe\u0301 \u6620\u753b \U0001f642 !"
    ),
    "a\tb\r\n\x01c": "a b c",
    " \n": "",
    "": "",
}


@pytest.mark.parametrize("text", CUTS)
def test_a_text_is_cut_and_every_word_has_its_place(text):
    """Also beside other texts; places are those of characters."""
    found, starts, ends = (parts.to_list() for parts in cut(["x y", text, "", "zz"]))
    words = CUTS[text].split(" ") if CUTS[text] else []
    assert [word.decode() for word in found[1]] == words
    assert [text[start:end] for start, end in zip(starts[1], ends[1], strict=True)] == words
    assert (starts[0], starts[3], ends[3]) == ([0, 2], [0], [2])


def test_what_is_known_of_a_word():
    words = ["abc", "iPhone", "Abc", "ABC", "I", "42", "U.S.", "\u00c4rger", "ABc"]
    np.testing.assert_array_equal(capitals_of(words), [1, 2, 3, 4, 4, 1, 4, 3, 3])
    keys = keys_of(["PS1", "ps23", "\u00c4RGER", "1,000"])
    assert [key.decode() for key in keys.numpy()] == ["psNUMBER", "psNUMBER", "\u00e4rger", "NUMBER,NUMBER"]
    short = ["\u00e4", "l\u00e4\u00e4", "going"]
    assert [one.decode() for one in endings_of(short, 2).numpy()] == ["\u00e4", "\u00e4\u00e4", "ng"]
    assert [one.decode() for one in endings_of(short, 3).numpy()] == [*short[:2], "ing"]


def test_ids_of_text_and_of_words():
    """0 is padding, 1 what is unknown; those behind the last place are left out."""
    known = Words(4, 4, ("psNUMBER", "is"), 3, 2, ("is",))
    wanted = [[2, 4, 1], [3, 1, 2], [1, 3, 2], [0, 0, 0]]
    np.testing.assert_array_equal(known.ids(["PS3 is This", "", "is is is is PS1"])[0], wanted)
    np.testing.assert_array_equal(known.ids(["PS3 is This", "", "is is is is PS1"])[1:, :, 0], [[0] * 4, [3] * 4])
    assert known.encode({"words": np.array(wanted)}) == b"PS0 is ?"
    np.testing.assert_array_equal(Words(4, 4, ("is",)).ids(["is This"])[0], [[2, 1], [1, 3], [0, 0], [0, 0]])
    spec, convert = known.converters()["words"]
    found = convert(tf.constant(b"is PS3"))
    assert spec.fits(tuple(found.shape)) and found.numpy()[:, 0].tolist() == [3, 2, 0, 0]


def test_the_vocabulary_is_of_words_that_are_seen_twice():
    """So others teach what an unknown word is; as many as there are rows for."""
    split = Tagging(input=Words(9, 5, suffixes=9)).load(given(["b 1 a c B", "a 22 b d a"])).splits["train"]
    found = Words(9, 5, suffixes=9).fitted(split)
    assert found.vocabulary == ("a", "b", "NUMBER") and found.words == 5
    assert found.endings == ("a", "b", "ER") and found.suffixes == 5
    assert found.columns() == {"length": 9, "words": 5, "suffixes": 5, "letters": 2} and found.fitted(split) is found
    assert inputs.of_facts(json.loads(json.dumps(found.facts()))) == found
    assert inputs.of_specs(found.specs()) is None and found.brief()["note"] == "Up to 9 words, of 3 that it knows."
    for wrong in ({"letters": 10**9}, {"length": 0}, {"suffixes": "3"}, {"endings": [1]}):
        with pytest.raises(ValueError, match="have no size|is of texts"):
            Words.of_facts(found.facts() | wrong)
    alone = Words(9, 100).fitted(Tagging(input=Words(9, 100)).load(given(["x y z", "u v w"])).splits["train"])
    assert alone.vocabulary == () and alone.ids(["x"])[0, 0].numpy().tolist() == [1, 1]


def given(sentences):
    """Arrays in which the first word of each sentence has another tag."""
    tags = np.full((len(sentences), 9), -1)
    for row, sentence in zip(tags, sentences, strict=True):
        row[: len(sentence.split())] = 1
        row[0] = 0
    both = np.array([one.encode() for one in sentences], object), tags
    return arrays({"train": both, "val": both}, ("x", "y"), input="words", target="tags")


# --- files


def lines(*sentences):
    """Of `word/tag word/tag`."""
    rows = (one.replace(" ", "\n").replace("/", "\t") for one in sentences)
    return "".join(f"{row}\n\n" for row in rows)


def written(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


TASK = Tagging(input=Words(12, 100))
ONE = lines("Ann/B-who ran/O", "to/O New/B-place York/I-place")


def test_files_are_found_by_what_is_in_their_names(tmp_path):
    more = lines("Bob/B-who slept/O")
    written(tmp_path, wnut17train_conll=ONE, emerging_dev_conll=more, emerging_test_annotated=more * 2, README=b"x")
    found = TASK.load(Data(source=str(tmp_path)))
    assert found.labels == ("B-place", "B-who", "I-place", "O")
    assert found.counts() == {"train": 2, "val": 1, "test": 2} and found.division == {"rule": "own"}
    assert found.splits["train"].names == ["wnut17train.conll:1", "wnut17train.conll:4"]
    assert found.splits["train"].inputs["words"].array.tolist() == [b"Ann ran", b"to New York"]
    np.testing.assert_array_equal(found.splits["train"].targets["tags"].array[1], [3, 0, 2] + [-1] * 9)
    for name, split in {"eng.testa": "val", "valid.txt": "val", "eng.testb": "test", "Training": "train"}.items():
        assert conll._splits(name) == [split]
    assert conll._splits("latest-evaluation.txt") == conll._splits("SOURCE.txt") == []


def test_one_file_is_divided(tmp_path):
    file = written(tmp_path, all_conll=ONE * 20) / "all.conll"
    found = TASK.load(Data(source=str(file), split="50/25/25"))
    assert found.counts() == {"train": 20, "val": 10, "test": 10} and found.division["rule"] == "class"
    assert all(len(set(TASK.strata(split))) == 2 for split in found.splits.values())


def test_other_columns_documents_and_older_tags(tmp_path):
    """IOB1 begins an entity by B- only behind another of its type."""
    content = (
        "-DOCSTART- -X- O O\r\n\r\nAnn NNP B-NP I-who\r\nBob NNP I-NP B-who\r\nDylan NNP I-NP I-who\r\n \t\r\n"
        "Rome NNP B-NP I-place\r\nAnn NNP I-NP I-who\r\n.  . O O"
    )
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf" + content.encode())
    found = conll.read(tmp_path / "x", tmp_path, "utf-8")
    assert found.names == ["x:3", "x:7"] and found.records == [b"Ann Bob Dylan", b"Rome Ann ."]
    conll.labels_of("x", {"train": found.tags})
    assert found.tags == [["B-who", "B-who", "I-who"], ["B-place", "B-who", "O"]]


def test_tags_that_are_no_entities(tmp_path):
    written(tmp_path, train=lines("the/DT cat/NN"), dev=lines("the/DT cats/NN"))
    assert TASK.load(Data(source=str(tmp_path))).labels == ("DT", "NN")


BROKEN = {
    "no tag": ({"train": "Ann O\nran\n"}, "train:2 has 1 columns, 2 before it; a word and its tag are needed"),
    "one column": ({"train": "Ann\n"}, "train:1 has 1 column; a word and its tag are needed"),
    "more columns": ({"train": "Ann O\nran x O\n"}, "train:2 has 3 columns, 2 before it"),
    "an empty word": ({"train": "Ann\tO\n\tO\n"}, "train:2 has an empty word"),
    "an empty tag": ({"train": "Ann\tO\nran\t\n"}, "train:2 has an empty tag"),
    "words in one": ({"train": "Ann Bob\tO\n"}, "train:1 has 2 words in one, 'Ann Bob'; give each a line"),
    "nothing": ({"train": "\n\n"}, "train has no words"),
    "another encoding": ({"train": "Ann O\nsch\u00f6n O\n".encode("latin-1")}, "train:2 is not utf-8; --encoding"),
    "another scheme": ({"train": "Ann S-who\nran O\nBob B-who\n"}, "the tag 'S-who' among those of IOB"),
    "one tag": ({"train": "Ann O\nran O\n"}, "has one tag only (O)"),
    "a tag of dev alone": ({"train": ONE, "dev": "Ann B-it\nran O\n"}, "val has the tag 'B-it', which train lacks"),
    "two files": ({"train": ONE, "train_old": ONE}, "has train and train.old for train; leave one of them there"),
    "no train": ({"dev": ONE}, "has dev; a file with train in its name is needed"),
    "no file": ({"README": "x"}, "has no file of a split; a file with train in its name is needed"),
    "both": ({"train-dev": ONE}, "is named as a file of two splits"),
    "too long": ({"train": lines("Ann/B-who " + "ran/O " * 12 + "on/O", "a/O"), "dev": lines("a/O")},
                 "cannot read train:1: it has 14 words, and the network takes 12"),
    "too many tags": ({"train": "".join(f"w t{i}\n" for i in range(1001))}, "has 1,001 tags; at most 1,000 are"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_such_file_is_told_in_one_line(tmp_path, monkeypatch, case):
    files, told = BROKEN[case]
    written(tmp_path / "data", **files)
    monkeypatch.chdir(tmp_path)
    asked = ["train", "window_tagger", "-c", "length=12", "-c", "width=4", "--data", "data", "--out", "m"]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and told in result.stderr, result.output
    assert not (tmp_path / "m").exists()


def test_another_encoding_is_read_where_it_is_named(tmp_path):
    written(tmp_path, train="sch\u00f6n O\nAnn B-who\n".encode("latin-1"), dev=b"Ann B-who\n")
    found = TASK.load(Data(source=str(tmp_path), encoding="latin-1"))
    assert found.splits["train"].inputs["words"].array[0].decode() == "sch\u00f6n Ann"
    with pytest.raises(DataError, match="no data at"):
        TASK.load(Data(source=str(tmp_path / "none")))


def test_arrays_and_what_is_wrong_with_them():
    """Tags may begin with I-; what is behind a sentence is no tag."""
    texts = np.array([b"Ann ran", b"New York is"], object)

    def loaded(tags, names=LABELS, **named):
        named = {"input": "words", "target": "tags"} | named
        both = texts, np.array(tags)
        return TASK.load(arrays({"train": both, "val": both}, names, **named))

    found = loaded([[0, 2, -1], [0, 1, 2]], ("B-who", "I-who", "O"))
    np.testing.assert_array_equal(found.splits["val"].targets["tags"].array[:, :4], [[0, 2, -1, -1], [0, 1, 2, -1]])
    for tags, named, told in (
        ([[0, 2, 2], [0, 1, 2]], {}, "other numbers of words and of tags"),
        ([[0, 2], [0, 1]], {}, "other numbers of words and of tags"),
        ([[0, 3, -1], [0, 1, 2]], {}, "integers .* from -1 to 2, received int64"),
        ([[0.0, 2, -1], [0, 1, 2]], {}, "received float64"),
        ([[0, 2, -1], [0, 1, 2]], {"target": "class"}, "has class, words; words and tags are needed"),
    ):
        with pytest.raises(DataError, match=told):
            loaded(tags, ("B-who", "I-who", "O"), **named)
    with pytest.raises(DataError, match="train has nothing of x"):
        loaded([[0, 2, -1], [0, 1, 2]], ("B-who", "I-who", "O", "x"))
    with pytest.raises(DataError, match="tags are of words; the network takes images"):
        Tagging(input=inputs.named("image")((8, 8, 1))).load(Data(source="x"))


def test_data_need_not_have_every_tag_of_a_model():
    both = np.array([b"a b"], object), np.array([[1, 0]])
    source = arrays({"train": both, "val": both}, ("O", "B-who"), input="words", target="tags")
    found = TASK.in_order(TASK.load(source), LABELS)
    assert found.labels == LABELS and found.splits["val"].targets["tags"].array[0, :3].tolist() == [1, 4, -1]
    with pytest.raises(DataError, match="other tags than the model, which does not know B-who; finetune"):
        TASK.in_order(TASK.load(source), ("O", "B-place"))


# --- entities


SEQEVAL = (  # tags that are true, that are found, then precision, recall and F1 of seqeval 1.2.2 in its default mode
    ("I-a I-a O B-b / I-a I-c-d B-c-d I-a I-b O B-a I-b / B-a I-c-d I-a / B-a I-c-d I-c-d B-b B-c-d / B-c-d O O B-b / "
     "B-b B-b B-c-d B-c-d",
     "I-a B-b O B-b / I-a I-a B-c-d I-a I-b O B-a I-b / B-a I-c-d I-a / B-a O I-c-d B-b B-c-d / B-a O O I-c-d / "
     "B-b B-b B-c-d B-c-d", 0.727273, 0.727273, 0.727273),
    ("O B-b I-b B-c-d I-a B-a I-c-d / B-b I-b B-b B-c-d I-a I-c-d O / B-c-d I-a B-a B-c-d / B-b B-a I-a O / "
     "B-c-d B-b I-a O B-c-d B-b I-c-d / I-a I-a B-b B-a I-a I-a B-c-d B-b B-a",
     "O B-b I-b B-c-d I-a B-a I-c-d / B-b I-b B-b B-c-d I-a I-c-d O / B-a I-a B-a B-c-d / B-b I-a I-a B-c-d / "
     "I-b B-b I-a B-c-d B-b B-b I-c-d / I-a I-a B-b B-a I-a B-a B-c-d B-b B-a", 0.766667, 0.821429, 0.793103),
    ("I-c-d I-b B-c-d B-b / I-c-d I-c-d I-b B-b I-a B-c-d I-b / I-b I-b B-a I-c-d I-b I-b / "
     "I-c-d I-b B-b I-c-d O I-a I-a / I-b B-b B-a O / I-c-d B-b I-b",
     "I-c-d O B-c-d B-b / I-c-d I-c-d I-b B-b I-a B-c-d I-b / I-b I-b I-a B-b B-b I-b / I-c-d I-b B-b I-c-d O O O / "
     "I-b I-c-d I-a O / I-c-d B-b I-b", 0.909091, 0.833333, 0.869565),
    ("O O", "O O", 0.0, 0.0, 0.0),
)  # fmt: skip


@pytest.mark.parametrize(("wanted", "found", "precision", "recall", "f1"), SEQEVAL)
def test_entities_are_counted_as_by_seqeval(wanted, found, precision, recall, f1):
    rows = [[row.split() for row in tags.split(" / ")] for tags in (wanted, found)]
    labels = tuple(sorted({"B-a", "B-b", "B-c-d", *(tag for row in (*rows[0], *rows[1]) for tag in row)}))
    most = max(map(len, rows[0]))
    true, said = ([[*map(labels.index, row), *[-1] * (most - len(row))] for row in part] for part in rows)
    scheme = bio.scheme(labels)
    for change in (np.array, lambda tags: scheme.repaired(np.array(tags))):
        counted = rates(scheme.counts(change(said), change(true)).sum(1))
        assert counted == {"f1": pytest.approx(f1, abs=1e-6), "precision": pytest.approx(precision, abs=1e-6),
                           "recall": pytest.approx(recall, abs=1e-6)}  # fmt: skip
    for row, tags in zip(scheme.repaired(np.array(said)), rows[1], strict=True):
        assert [labels[place] for place in row if place >= 0] == conll.repaired(tags)


def test_an_inside_that_follows_nothing_of_its_type_begins():
    tags = np.array([[3, 3, 2, 4, 2], [1, 3, 0, 3, -1]])  # I-who I-who I-place O I-place; B-who I-who B-place I-who
    np.testing.assert_array_equal(bio.scheme(LABELS).repaired(tags), [[1, 3, 0, 4, 0], [1, 3, 0, 1, -1]])
    assert [*bio.runs(["B-who", "I-who", "B-who", "O", "B-place"])] == [(0, 2, "who"), (2, 3, "who"), (4, 5, "place")]
    assert bio.is_bio(["O"]) and not bio.is_bio(["O", "NN"]) and not bio.is_bio([])


def outputs_of(tags, sure=0.9):
    """What a network says whose most probable tags these are."""
    tags = np.array(tags)
    scores = np.full((*tags.shape, 5), (1 - sure) / 4, np.float32)
    np.put_along_axis(scores, np.maximum(tags, 0)[..., None], sure, -1)
    return {"probabilities": scores, "there": (tags >= 0).astype(np.float32)}


def test_a_report_by_hand():
    """Of two entities one is found, and one that is none: I-who alone counts as B-who."""
    task = Tagging(input=Words(4, 9), labels=LABELS)
    report = task.measure([(outputs_of([[3, 4, 0, 4], [4, 1, -1, -1]]),
                            {"tags": np.array([[1, 4, 0, 2], [4, 4, -1, -1]], np.int32)})])  # fmt: skip
    assert report.counts.tolist() == [[0, 1], [1, 2], [1, 1]]  # place, who
    nats = -(np.log(0.9) + np.log(0.025)) / 2
    shares = {"f1": 0.4, "precision": 1 / 3, "recall": 0.5, "word_accuracy": 4 / 6}
    assert report.metrics == pytest.approx(shares | {"loss": nats, "n": 2}, rel=1e-5)
    ((columns, rows),) = report.tables()
    assert columns[0] == "entity" and rows[1] == ("who", "0.6667", "0.5000", "1.0000", 2, 1)
    assert report.as_json()["entities"]["place"] == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "found": 1, "n": 1}
    assert [(one.place, one.true, one.found) for one in report.mistakes(9)] == [(0, "I-place", "O"),
                                                                         (1, "O", "B-who")]  # fmt: skip
    plain = Report(np.array([[0, 1]]), np.array([[0, 0]]), np.ones((1, 2)), np.ones((1, 2)), ("DT", "NN"))
    assert plain.metrics["f1"] == plain.metrics["word_accuracy"] == 0.5  # each word is one by itself


def test_losses_by_hand():
    """The mean over a batch is that over its words; padding is none."""
    task = Tagging(input=TASK.input, labels=("O", "x"))
    split = TASK.load(given(["a b", "c"])).splits["train"]  # counts 2 and 1
    logits = tf.constant([[[0.0, 0.0], [np.log(3.0), 0.0]], [[0.0, 0.0], [9.0, 0.0]]], tf.float32)
    targets = {"tags": tf.constant([[0, 1], [0, -1]])}
    parts = [np.log(2), np.log(4), np.log(2)]
    found = task.objective(Schedule(), split)(logits, targets)
    np.testing.assert_allclose(found, [(parts[0] + parts[1]) / 1.5, parts[2] / 1.5], rtol=1e-6)
    assert float(tf.reduce_mean(found)) == pytest.approx(np.mean(parts))
    for balance, rare in ((1.0, 2.0), (0.5, 2**0.5), (0, 1.0)):  # by how much "x" counts for more, of 2 and 1 words
        weighing = Tagging(input=TASK.input, labels=("O", "x"), balance=balance)
        weighted = weighing.objective(Schedule(class_weights="balanced"), split)(logits, targets)
        weights = np.array([1, rare, 1]) * 3 / (2 + rare)
        assert float(tf.reduce_mean(weighted)) == pytest.approx(np.dot(weights, parts) / 3)
    with pytest.raises(RecipeError, match="an exponent from 0 to 1, received 2"):
        Tagging(input=TASK.input, balance=2)
    smooth = task.objective(Schedule(label_smoothing=0.2), split)(logits, targets)
    parts[1] = -0.9 * np.log(0.25) - 0.1 * np.log(0.75)
    assert float(tf.reduce_mean(smooth)) == pytest.approx(np.mean(parts))
    np.testing.assert_allclose(task.step_metrics(logits, targets)["word_accuracy"], [0.5, 1.0])
    with pytest.raises(DataError, match="not one word with the tag 'y'"):
        Tagging(input=TASK.input, labels=("O", "x", "y")).objective(Schedule(), split)


def test_agreement_is_of_words():
    task = Tagging(input=TASK.input, labels=LABELS)
    one, other = outputs_of([[1, 4, -1, -1], [4, 4, 4, -1]]), outputs_of([[3, 4, -1, -1], [4, 4, 0, -1]])
    assert task.agreement(one, other) == pytest.approx(4 / 5)  # I-who is repaired to B-who
    mean = task.averaged([one, other])
    np.testing.assert_allclose(mean["probabilities"], (one["probabilities"] + other["probabilities"]) / 2)
    np.testing.assert_array_equal(task.reordered(mean, [4, 3, 2, 1, 0])["there"], one["there"])


# --- the chain


def sentence(rng):
    """A drawn one of `word/tag`."""
    entity = {kind: str(rng.choice(names)) for kind, names in SEEN.items()}
    tagged = {kind: " ".join(f"{word}/{'I' if i else 'B'}-{kind}" for i, word in enumerate(name.split()))
              for kind, name in entity.items()}  # fmt: skip
    form = rng.choice(["{who} went/O to/O {place} ./O", "in/O {place} it/O rains/O", "{who} sleeps/O now/O ./O"])
    return str(form).format(**tagged)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    parts = {name: lines(*(sentence(rng) for _ in range(count))) for name, count in
             (("train", 80), ("dev", 20), ("test", 20))}  # fmt: skip
    return str(written(tmp_path_factory.mktemp("data"), **parts))


def job(folder, schedule=SCHEDULE):
    return plan("window_tagger", SMALL, folder, schedule)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "tagger")
    run(job(folder), directory)
    return directory


def test_it_learns_and_its_card_says_what_it_is(trained, folder):
    card = trained.read_card()
    assert card.task == "tagging" and card.labels == LABELS and card.metrics["test"]["f1"] > 0.95
    assert card.columns["words"] == len(card.input["vocabulary"]) + 2 and card.columns["suffixes"] > 3
    assert cnn_app.evaluate(trained.path, folder).report.metrics == pytest.approx(card.metrics["test"])
    for name in ("words", "capitals", "suffixes"):
        assert not np.asarray(cnn_app.load_model(trained.path).get_layer(f"{name}_table").table)[0].any()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_result(trained, folder, tmp_path):
    directory = ModelDir(tmp_path / "tagger")

    def stop(epoch, done, steps, logs):
        if epoch == 1 and done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="after step 15"):
        run(job(folder), directory, watch=engine.Watch(step=stop))
    run(job(folder), directory, resume=True)
    for ours, theirs in zip(*(cnn_app.load_model(one.path).get_weights() for one in (directory, trained)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert directory.read_card().metrics == trained.read_card().metrics


def test_a_batch_can_be_memorised(folder):
    assert memorise(job(folder, Schedule(batch=8, lr=0.02, augment=())))["word_accuracy"] >= 0.99


def test_answers_to_what_people_type(trained):
    (found,) = cnn_app.predict(trained.path, TEXT)
    assert found.answer["words"] == ["Joan", "Ann", "went", "to", "New", "York", "."]
    assert found.answer["tags"] == ["B-who", "I-who", "O", "O", "B-place", "I-place", "O"]
    shown = [(one["label"], one["text"], one["start"], one["end"]) for one in found.answer["entities"]]
    assert shown == [("who", "Joan Ann", 0, 8), ("place", "New York", 17, 25)]
    scores = found.outputs["probabilities"].max(-1)
    assert found.answer["entities"][0]["probability"] == pytest.approx(scores[:2].mean(), rel=1e-6)
    asked = [" ", "x " * 13, "\u00a0\u00a0", "\u3042"]
    wrong = [str(row.error) if row.error else row.answer["words"] for row in cnn_app.predict(trained.path, asked)]
    assert wrong[0] == "cannot read a sentence: it is empty" and "it has 13 words, and the network takes 12" in wrong[1]
    assert "it has no words" in wrong[2] or "it is empty" in wrong[2]
    assert wrong[3] == ["\u3042"]
    taken = tasks.of_card(trained.read_card()).input.ids([TEXT]).numpy()
    (bare,) = cnn_app.predict(trained.path, taken)
    assert bare.answer["tags"] == found.answer["tags"] and bare.answer["entities"][1]["text"] == "4 5"


def test_commands_show_draw_and_refuse(trained, folder, tmp_path):
    asked = ["predict", trained.path, TEXT, "it rains", "--draw", tmp_path, "--out", tmp_path / "x.jsonl"]
    result = CliRunner().invoke(cli, list(map(str, asked)))
    first, second = result.stdout.splitlines()
    assert result.exit_code == 0 and first.startswith(f"{TEXT}: Joan Ann: who 0.") and ", New York: place " in first
    assert second == "it rains: no entity"
    (row, _) = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert list(row) == ["text", "entities", "words", "tags"] and row["text"] == TEXT
    result = CliRunner().invoke(cli, ["predict", str(trained.path), TEXT, "--out", str(tmp_path / "x.csv")])
    assert (tmp_path / "x.csv").read_text().splitlines() == ["text,entities", f"{TEXT},Joan Ann: who|New York: place"]
    (file,) = tmp_path.glob("Joan-Ann*.png")
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=-1) > 40).sum() > 2000  # two names on coloured ground
    result = CliRunner().invoke(cli, ["evaluate", str(trained.path), "--data", folder, "--confusion",
                                      str(tmp_path / "f1.png")])  # fmt: skip
    assert result.exit_code == 0 and "word accuracy" in result.output and (tmp_path / "f1.png").is_file()
    for more, told in (
        (["evaluate", str(trained.path), "--mistakes", "m.png"], "sentences cannot be drawn"),
        (["data", "show", "--model", "window_tagger", "--out", "s.png"], "sentences, which are not"),
    ):
        result = CliRunner().invoke(cli, [*more, *([folder] if more[0] == "data" else ["--data", folder])])
        assert result.exit_code == 1 and told in result.stderr, result.output


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """Files of the network by target, in a model directory of their own."""
    task, model = tasks.of_card(trained.read_card()), cnn_app.load_model(trained.path)
    base = tmp_path_factory.mktemp("files")
    return {kind: served.export(task, model, base / kind, kind) for kind in ("saved_model", "tflite-float32", "onnx")}


def test_files_agree_and_are_one_with_the_network(trained, files, folder):
    wanted = cnn_app.evaluate(trained.path, folder).report
    both = cnn_app.evaluate([trained.path, *files.values()], folder)
    assert both.ensemble.metrics == pytest.approx(wanted.metrics, rel=1e-4)
    for found in both.reports.values():
        np.testing.assert_array_equal(found.found, wanted.found)
        assert found.metrics == pytest.approx(wanted.metrics, rel=1e-4)
    (found,) = cnn_app.predict(files["onnx"], TEXT)
    assert found.answer["entities"][0]["text"] == "Joan Ann"


def test_the_graph_repairs_as_numpy_does(trained, files):
    """A head at random says much that has to be repaired."""
    task, model = tasks.of_card(trained.read_card()), cnn_app.load_model(trained.path)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([np.random.default_rng(0).normal(size=kernel.shape), bias * 0])
    texts = [TEXT.encode(), b"it rains in New York now", "Ann \u2013 sch\u00f6n, Rome".encode(), b"  ", b"now " * 20]
    taken = task.input.ids(texts).numpy()
    outputs = KerasRuntime(task.deployed(model)).run({"words": taken})
    by_hand = task.named(task.placed(outputs, texts))
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.range(5, dtype=tf.int64), tf.constant(task.labels)), "")  # fmt: skip
    by_graph = task.served({name: tf.constant(array) for name, array in outputs.items()}, table, tf.constant(texts))
    assert set(by_graph) == set(by_hand) == set(task.named_specs({}))
    for name, array in by_hand.items():
        graph = by_graph[name].numpy()
        if name == "tags":
            graph = np.vectorize(bytes.decode, otypes=[object])(graph)
        np.testing.assert_array_equal(graph, array)
    raw = np.array([*task.labels, ""], object)[np.where(outputs["there"] > 0, outputs["probabilities"].argmax(-1), -1)]
    assert (raw != by_hand["tags"]).sum() > 3 and [*by_hand["tags"][3]] == [""] * 12
    alone = task.served({name: tf.constant(array) for name, array in outputs.items()}, table, None)
    assert set(alone) == {"probabilities", "there", "tags"}


def test_servers_answer_as_predict_does(trained, files):
    texts = [TEXT, "it rains", "Ann \u2013 now in Rome \U0001f642."]
    wanted = cnn_app.predict(trained.path, texts)
    with served.running(*(f"{name}={file}" for name, file in files.items())) as server:
        for name in files:
            for address in (server.rest, server.grpc):
                with Client(f"{address}/{name}") as client:
                    answers = list(client.each([text.encode() for text in texts], client.encoded))
                for answer, one in zip(answers, wanted, strict=True):
                    told = answer.told()
                    for ours, theirs in zip(told["entities"], one.answer["entities"], strict=True):
                        assert ours == theirs | {"probability": pytest.approx(theirs["probability"], abs=1e-4)}
                    assert {**told, "entities": 0} == {**one.answer, "entities": 0}
        result = CliRunner().invoke(cli, ["predict", "--endpoint", f"{server.rest}/onnx", TEXT, "--json"])
        (row,) = json.loads(result.stdout)
        assert list(row) == ["text", "entities", "words", "tags"] and row["entities"][0]["text"] == "Joan Ann"


@browsing.needs_chromium
def test_the_page_shows_entities(files, browser):
    with served.running(files["saved_model"]) as found:
        browser.get(found.rest)
        browsing.wait(browser, lambda: browsing.find(browser, "#text").is_displayed())
        for text, shown in ((f"\U0001f642 {TEXT}", ["Joan Ann: who", "New York: place"]), ("it rains", ["no entity"])):
            browsing.find(browser, "#text").clear()
            browsing.find(browser, "#text").send_keys(text) if text.isascii() else browser.execute_script(
                "document.getElementById('text').value = arguments[0]", text
            )
            browsing.find(browser, "#writing button").click()
            browsing.wait(browser, lambda shown=shown: browsing.labels(browser) == shown)


@pytest.mark.slow
def test_export_proves_every_file(trained, folder):
    targets = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "onnx")
    for result in cnn_app.export(trained.path, targets, folder):
        assert result.metric == "f1" and result.drop <= 1.0 and result.agreement > 0.98, result
    for entry in trained.read_exports():
        assert golden.check(trained.path / entry["path"]).passed


@pytest.mark.slow
def test_going_on_from_word_vectors_and_to_other_tags(trained, folder, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"{word} {' '.join([str(i / 8)] * 8)}\n" for i, word in enumerate(("rome", "went"), 1)))
    schedule = Schedule(epochs=1, batch=8, lr=1e-6, augment=())
    card = cnn_app.finetune("window_tagger", folder, tmp_path / "m", columns=SMALL, schedule=schedule,
                            transfer=Transfer(weights=str(vectors)))  # fmt: skip
    table = np.asarray(cnn_app.load_model(tmp_path / "m").get_layer("words_table").table)
    for i, word in enumerate(("rome", "went"), 1):
        np.testing.assert_allclose(table[card.input["vocabulary"].index(word) + 2], i / 8, atol=1e-3)
    other = written(tmp_path / "other", train=lines("the/DT Rome/NN now/RB", "Ann/NN went/VB") * 20)
    card = cnn_app.finetune(trained.path, str(other), tmp_path / "n",
                            schedule=Schedule(epochs=6, batch=4, lr=0.05, augment=()))  # fmt: skip
    assert card.labels == ("DT", "NN", "RB", "VB") and card.metrics["test"]["f1"] > 0.9
    assert card.metrics["test"]["f1"] == card.metrics["test"]["word_accuracy"]
    assert card.input["vocabulary"] == trained.read_card().input["vocabulary"]
    (found,) = cnn_app.predict(tmp_path / "n", "Ann went", top=1)
    assert bio.line(found.answer) == "Ann/NN went/VB" and found.answer["entities"] == []
