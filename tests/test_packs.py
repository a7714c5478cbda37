"""Data that are decoded once, that lie elsewhere, and that were looked at before."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app import inputs, tasks
from cnn_app.cli.main import cli
from cnn_app.data import known, manifest, memory, packs, pipeline
from cnn_app.data.dataset import SPLITS
from cnn_app.errors import ArtifactError, DataError
from cnn_app.jobs import pack as packing
from cnn_app.jobs import sources
from cnn_app.recipe import Data, Schedule

SIZE = (32, 40, 3)
CLASSES = ("bird", "cat", "dog")
PART_BYTES = 16 * (32 * 40 * 3 + 8)


def draw(root, count=40):
    """Noisy images of many sizes in three classes."""
    for number in range(count):
        folder = root / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (20 + number, 50 - number, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.{'png' if number % 2 else 'jpg'}")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("elsewhere") / "photos")


@pytest.fixture
def small_parts(monkeypatch):
    """Sixteen records in a part."""
    monkeypatch.setattr(packs, "SHARD_BYTES", PART_BYTES)


@pytest.fixture(scope="module")
def once(photos, tmp_path_factory):
    place = tmp_path_factory.mktemp("packs") / "photos.pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "SHARD_BYTES", PART_BYTES)
        packing.pack(str(photos), place, columns={"image": SIZE})
    return place


@pytest.fixture
def packed(once, tmp_path):
    return shutil.copytree(once, tmp_path / "photos.pack")


def task_of(name="classification", size=SIZE, **columns):
    return tasks.named(name)(input=inputs.named("image")(size, **columns))


def prepared(source, task=None, **options):
    """What a network takes, read anew."""
    task, data = task or task_of(), Data(source=str(source), **options)
    return sources.prepared(task, task.load(data), data)


def epoch(split, task, augment=("flip", "crop"), number=0):
    task = tasks.named(task.name)(input=task.input, labels=CLASSES)
    return [
        {name: array.tobytes() for half in batch for name, array in half.items()}
        for batch in pipeline.training_batches(
            split, 8, lambda inputs, targets, seed: task.augmented(inputs, targets, seed, augment), seed=3, epoch=number
        ).as_numpy_iterator()
    ]


def invoked(*words):
    return CliRunner().invoke(cli, list(map(str, words)))


# Packs


def test_a_pack_is_the_folder_bit_for_bit(photos, packed):
    folder, pack = prepared(photos), prepared(packed)
    assert folder.fingerprint() == pack.fingerprint() and folder.division == pack.division
    assert len({file.name.split(".")[1] for file in packed.glob("train.*.image.bin")}) == 2
    for name in SPLITS:
        assert list(folder.splits[name].names) == list(pack.splits[name].names)
        ours, theirs = (pipeline.gathered(found.splits[name]) for found in (folder, pack))
        np.testing.assert_array_equal(ours[0]["image"], theirs[0]["image"])
        np.testing.assert_array_equal(ours[1]["class"], theirs[1]["class"])
    assert pack.splits["train"].inputs["image"].whole is None  # it stays in its files
    one = epoch(folder.splits["train"], task_of())
    assert one == epoch(pack.splits["train"], task_of()) and len(one) == 3


def test_training_on_a_pack_gives_the_same_weights(photos, packed, tmp_path):
    schedule = Schedule(epochs=2, batch=8)
    columns = {"image": SIZE}
    for name, source in (("folder", photos), ("pack", packed)):
        cnn_app.train("lenet5", str(source), tmp_path / name, columns=columns, schedule=schedule)
    one, two = (cnn_app.load_model(tmp_path / name).get_weights() for name in ("folder", "pack"))
    assert all(np.array_equal(*pair) for pair in zip(one, two, strict=True))
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("folder", "pack")]
    assert cards[0]["metrics"] == cards[1]["metrics"]
    assert cards[0]["data"] | {"source": ""} == cards[1]["data"] | {"source": ""}
    result = invoked("evaluate", tmp_path / "pack", "--data", photos, "--json")  # divided alike
    assert json.loads(result.stdout)["loss"] == pytest.approx(cards[1]["metrics"]["test"]["loss"])


def test_a_pack_is_divided_as_it_was_packed(photos, tmp_path):
    result = invoked("data", "pack", photos, "--image", "32x40", "--split", "50/25/25", "--split-seed", 4, "--out",
                     tmp_path / "other.pack", "--json")  # fmt: skip
    assert json.loads(result.stdout) == {
        "records": {"train": 19, "val": 11, "test": 10}, "bytes": 40 * (32 * 40 * 3 + 8), "skipped": [], "taken": 0,
    }  # fmt: skip
    other = task_of().load(Data(source=str(tmp_path / "other.pack")))
    assert other.division == {"rule": "class", "shares": [50, 25, 25], "seed": 4}


def test_masks_and_labels_are_packed_too(tmp_path, photos):
    masks = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3), np.uint8)
    for kind in ("images", "masks"):
        for number, image in enumerate(masks):
            place = tmp_path / "streets" / kind / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image if kind == "images" else image[..., 0] // 128).save(place)
    lines = [
        f"{file.relative_to(photos)},{'a|b' if i % 2 else 'a'}" for i, file in enumerate(sorted(photos.rglob("*.*g")))
    ]
    several = shutil.copytree(photos, tmp_path / "several")
    (several / "labels.csv").write_text("\n".join(("file,labels", *lines)))
    for source, name in ((tmp_path / "streets", "segmentation"), (several, "multilabel")):
        task = task_of(name)
        packing.pack(str(source), tmp_path / f"{name}.pack", columns={"image": SIZE}, options={"name": name})
        folder, pack = prepared(source, task), prepared(tmp_path / f"{name}.pack", task)
        for split in SPLITS:
            ours, theirs = (pipeline.gathered(found.splits[split]) for found in (folder, pack))
            for half in (0, 1):
                assert all(np.array_equal(ours[half][key], theirs[half][key]) for key in ours[half])
    assert invoked("data", "check", tmp_path / "multilabel.pack").exit_code == 0


def test_a_pack_goes_on_where_it_was_stopped(photos, tmp_path, small_parts, packed):
    place, calls = tmp_path / "again.pack", []

    def stop(what, done, total):
        calls.append((what, done, total))
        if (what, done) == ("packing train", 28):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packing.pack(str(photos), place, columns={"image": SIZE}, progress=stop)
    assert not place.exists() and (tmp_path / "again.pack.part").is_dir() and calls[-1][2] == 28
    found = packing.pack(str(photos), place, columns={"image": SIZE})
    assert found["taken"] == 1 and not (tmp_path / "again.pack.part").exists()
    same = lambda folder: {file.name: file.read_bytes() for file in folder.iterdir()}  # noqa: E731
    assert same(place) == same(packed)


def test_a_pack_of_other_files_starts_anew(tmp_path, small_parts):
    photos, place = draw(tmp_path / "photos"), tmp_path / "photos.pack"
    with pytest.raises(KeyboardInterrupt):
        packing.pack(str(photos), place, columns={"image": SIZE}, progress=interrupting("packing val"))
    first = task_of().load(Data(source=str(photos))).splits["train"].names[0]
    Image.new("RGB", (9, 9), (1, 2, 3)).save(photos / first, "PNG")
    found = packing.pack(str(photos), place, columns={"image": SIZE})
    image = pipeline.gathered(prepared(place).splits["train"])[0]["image"][0]
    assert found["taken"] == 0 and (image == (1, 2, 3)).all()


def interrupting(at):
    def progress(what, done, total):
        if what == at:
            raise KeyboardInterrupt

    return progress


def test_what_cannot_be_read_is_named_or_left_out(tmp_path, small_parts):
    photos, place = draw(tmp_path / "photos"), tmp_path / "photos.pack"
    bad = task_of().load(Data(source=str(photos))).splits["train"].names[17]
    (photos / bad).write_bytes(b"")
    result = invoked("data", "pack", photos, "--image", "32x40", "--out", place)
    assert result.exit_code == 1 and not place.exists()
    assert (
        result.stderr
        == f"Error: {photos}: cannot read {bad}: the file is empty; remove it, or use --on-bad-image skip\n"
    )
    result = invoked("data", "pack", photos, "--image", "32x40", "--out", place, "--on-bad-image", "skip", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["skipped"] == [f"{bad}: the file is empty"]
    assert json.loads(result.stdout)["taken"] == 1  # that of before
    folder, pack = prepared(photos, on_bad_image="skip"), prepared(place)
    assert list(pack.splits["train"].names) == list(folder.splits["train"].names)
    assert epoch(folder.splits["train"], task_of()) == epoch(pack.splits["train"], task_of())


def test_a_disk_that_is_full(photos, tmp_path, monkeypatch, small_parts):
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(DataError, match=r"the pack takes 0.0 GiB, .* has 0.0 GiB free; choose another place"):
            packing.pack(str(photos), tmp_path / "no.pack", columns={"image": SIZE})
    assert list(tmp_path.iterdir()) == []

    def full(values, file):
        Path(file).write_bytes(values.tobytes()[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "to_file", full)
        with pytest.raises(ArtifactError, match=r"cannot write .*train.00000.image.bin: No space left on device; free"):
            packing.pack(str(photos), tmp_path / "no.pack", columns={"image": SIZE})
    assert list((tmp_path / "no.pack.part").glob("*.bin")) == [] and not (tmp_path / "no.pack").exists()
    packing.pack(str(photos), tmp_path / "no.pack", columns={"image": SIZE})


DAMAGE = {
    "cut": (lambda place: os.truncate(place / "train.00001.image.bin", 99), "has 99 bytes of 46,080; copy"),
    "lacking": (lambda place: (place / "val.00000.class.bin").unlink(), "cannot read .*val.00000.class.bin.*copy"),
    "version": (lambda place: edit(place, version=2), "is a pack of version 2, this cnn-app reads 1; pack it again"),
    "list": (lambda place: (place / "pack.json").write_text("[]"), "is a pack of version None"),
    "no JSON": (lambda place: (place / "pack.json").write_text("{"), "pack.json is damaged: .*; pack it again"),
    "objects": (lambda place: edit(place, columns={"image": column("|O")}), "pack.json is damaged: inputs of"),
    "negative": (lambda place: edit(place, parts={"train": [-1]}), "pack.json is damaged: -1 is no count"),
    "path": (lambda place: edit(place, columns={"../x": column("|u1")}), "pack.json is damaged: splits train"),
    "unfinished": (lambda place: (place / "pack.json").unlink(), "cannot read .*pack.json: .*same command"),
    "names": (lambda place: (place / "val.names.json").write_text('["a"]'), "does not name its 6 records"),
}  # fmt: skip


def column(dtype):
    return {"part": "inputs", "dtype": dtype, "shape": [1], "mapped": True}


def edit(place, **changes):
    values = json.loads((place / "pack.json").read_text())
    (place / "pack.json").write_text(json.dumps(values | changes))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_pack_is_one_line(packed, kind):
    damage, message = DAMAGE[kind]
    damage(packed)
    with pytest.raises(DataError, match=message) as caught:
        task_of().load(Data(source=str(packed)))
    assert "\n" not in str(caught.value)


def test_a_pack_that_is_not_there():
    with pytest.raises(DataError, match="no pack at 'none.pack'; `cnn-app data pack` writes one"):
        task_of().load(Data(source="none.pack"))


def test_check_finds_a_byte_that_changed(packed):
    assert invoked("data", "check", packed).exit_code == 0
    file = packed / "test.00000.image.bin"
    file.write_bytes(b"\0\0\0\0" + file.read_bytes()[4:])
    result = invoked("data", "check", packed)
    assert result.exit_code == 1 and f"unreadable: {file}: it is not as it was packed; pack it again" in result.stdout


@pytest.mark.parametrize(
    ("columns", "taken", "fits"),
    [
        ({}, {}, True),
        ({}, {"size": (16, 16, 3)}, True),
        ({}, {"resize": "crop"}, False),
        ({"resize": "crop"}, {"resize": "crop"}, True),
        ({"resize": "crop"}, {"resize": "crop", "size": (16, 16, 3)}, False),
        ({"resize": "crop"}, {}, False),
    ],
    ids=str,
)
def test_pixels_are_those_that_a_network_would_see(photos, tmp_path, columns, taken, fits):
    packing.pack(str(photos), tmp_path / "one.pack", columns={"image": SIZE} | columns)
    if not fits:
        with pytest.raises(
            DataError, match=r"one.pack was packed for 32x40x3 by .*, the network takes .*; pack it again"
        ):
            prepared(tmp_path / "one.pack", task_of(**taken))
        return
    found = prepared(tmp_path / "one.pack", task_of(**taken)).splits["val"]
    wanted = taken.get("size", SIZE)
    assert pipeline.gathered(found)[0]["image"].shape[1:] == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digits", "--out", "x.pack", "--model", "dqn"), "no image"),
        (("digits", "--out", "x"), "a pack ends in .pack, received x"),
        (("nothing", "--out", "x.pack"), "no data at 'nothing'"),
    ],
    ids=str,
)
def test_what_is_not_packed_is_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = invoked("data", "pack", *words)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    assert message in result.stderr or words[-1] == "dqn"
    assert list(tmp_path.iterdir()) == []


def test_a_pack_is_not_written_over(packed, photos):
    with pytest.raises(DataError, match="is there already; remove it, or choose another name"):
        packing.pack(str(photos), packed)


# Tables of what lies elsewhere


def table(place, rows, header="path,label"):
    place.write_text("\n".join((header, *rows)))
    return place


def lines(photos):
    files = sorted(photos.rglob("*.*g"))
    return [f"{file.relative_to(photos).as_posix()},{file.parent.name}" for file in files]


def test_a_table_is_the_folder_that_it_lists(photos, tmp_path):
    place = table(tmp_path / "photos.csv", lines(photos))
    folder, listed = prepared(photos), prepared(place, directory=str(photos))
    assert folder.fingerprint() == listed.fingerprint()
    assert epoch(folder.splits["train"], task_of()) == epoch(listed.splits["train"], task_of())
    result = invoked(
        "data", "check", table(photos.parent / "all.csv", [f"photos/{line}" for line in lines(photos)]), "--json"
    )
    assert json.loads(result.stdout)["formats"] == {"JPEG": 20, "PNG": 20}


def test_parquet_and_splits(photos, tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [line.split(",") for line in lines(photos)]
    splits = [("train", "val", "test")[i % 3] for i in range(len(rows))]
    paths = [str(photos / path) if i % 2 else path for i, (path, _) in enumerate(rows)]  # whole ones, too
    columns = {"path": paths, "label": [label for _, label in rows], "split": splits, "other": splits}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "photos.parquet")
    found = task_of().load(Data(source=str(tmp_path / "photos.parquet"), directory=str(photos)))
    assert found.counts() == {"train": 14, "val": 13, "test": 13} and found.division == {"rule": "own"}
    assert found.splits["val"].names == [path for i, (path, _) in enumerate(rows) if i % 3 == 1]
    pyarrow.parquet.write_table(pyarrow.table({"path": paths, "class": paths}), tmp_path / "wrong.parquet")
    with pytest.raises(
        DataError, match="wrong.parquet has the columns path, class; label is needed, split may be there"
    ):
        task_of().load(Data(source=str(tmp_path / "wrong.parquet")))
    pyarrow.parquet.write_table(pyarrow.table({"path": paths, "label": [None] * len(paths)}), tmp_path / "null.parquet")
    with pytest.raises(DataError, match="null.parquet, row 0, has no label; fill it, or leave the row out"):
        task_of().load(Data(source=str(tmp_path / "null.parquet")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["../secret.png,a"], r":2 names the file '../secret.png'; a path inside the folder of the table is needed"),
        (["/etc/passwd,a"], r":2 names the file '.*etc/passwd'; a path inside"),
        (["x.png,a", "./x.png,b"], r":3 has the path x.png of .*:2 again; remove one"),
        (["x.png,"], r":2 has the label ''; one that can be printed is needed"),
        (["x.png"], r":2 has 1 cells, the header 2"),
        ([], r"photos.csv lists no images; give a line for each"),
        (['x.png,"a'], r":2 is no CSV: unexpected end of data"),
        (["x.png,a"], r"has one class only \(a\)"),
    ],
    ids=str,
)
def test_a_table_that_is_wrong_is_one_line(tmp_path, rows, message):
    with pytest.raises(DataError, match=message) as caught:
        task_of().load(Data(source=str(table(tmp_path / "photos.csv", rows))))
    assert "\n" not in str(caught.value)


def test_a_split_that_is_none(tmp_path):
    place = table(tmp_path / "photos.csv", ["x.png,a,dev"], "path,label,split")
    with pytest.raises(DataError, match=":2 has the split 'dev'; one of train, val, test is needed"):
        task_of().load(Data(source=str(place)))


def test_parquet_that_is_none_or_has_no_reader(tmp_path, monkeypatch):
    (tmp_path / "photos.parquet").write_bytes(b"PAR1 but not for long PAR1")
    with pytest.raises(DataError, match="photos.parquet is no Parquet, or damaged: ") as caught:
        task_of().load(Data(source=str(tmp_path / "photos.parquet")))
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"is Parquet, which needs: pip install 'cnn-app\[parquet\]'; or write it as CSV"
    ):
        task_of().load(Data(source=str(tmp_path / "photos.parquet")))


def test_other_tables_are_others_matter(tmp_path):
    for header in ("text,label", "file,labels", "file,cat,dog"):
        assert not manifest.is_one(str(table(tmp_path / "x.csv", [], header)))
    assert not manifest.is_one(str(tmp_path / "none.csv"))


# Files that were looked at before


def test_known_files_are_not_looked_at_again(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_APP_CACHE", str(tmp_path))
    first = prepared(photos)
    one = epoch(first.splits["train"], task_of())
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_problems", lambda split, places: pytest.fail("looked at") if len(places) else {})
        again = prepared(photos).splits["train"]
    column = again.inputs["image"]
    assert column.whole is None and not column.kept[1].any()
    assert epoch(again, task_of()) == one and column.kept[1].sum() == 24
    for number in range(1, 9):
        epoch(again, task_of(), number=number)
    assert column.whole is not None and epoch(again, task_of()) == one
    np.testing.assert_array_equal(column.whole, first.splits["train"].inputs["image"].array)


def test_a_file_that_changed_is_looked_at(tmp_path):
    photos = draw(tmp_path / "photos")
    prepared(photos).splits["train"]
    first, second = prepared(photos).splits["train"].names[:2]
    (photos / first).write_bytes(b"")
    with pytest.raises(DataError, match=f"cannot read {first}: the file is empty"):
        prepared(photos).splits["train"]
    found = prepared(photos, on_bad_image="skip").splits["train"]
    assert found.names[0] == second and len(found) == 27
    Image.new("RGB", (30, 30), (9, 8, 7)).save(photos / first, "PNG")
    assert (pipeline.gathered(prepared(photos).splits["train"])[0]["image"][0] == (9, 8, 7)).all()


def test_what_cannot_be_remembered_is_looked_at(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_APP_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    assert prepared(photos).splits["train"].inputs["image"].array is not None
    monkeypatch.setenv("CNN_APP_CACHE", str(tmp_path))
    prepared(photos).splits["train"]
    (file,) = (tmp_path / "known").iterdir()
    for text in ("", "{", "[]", '{"version": 1}', '{"files": {}, "version": "0"}'):
        file.write_text(text)
        assert not known.Known(str(photos), "1").stamps


# Memory


@pytest.mark.parametrize("line", ["0::/a/b", "4:memory:/a/b"])
@pytest.mark.parametrize("where", ["a", "a/b"])
def test_the_limit_of_a_group_further_in_is_heeded(tmp_path, monkeypatch, line, where):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 5000}))
    version1 = "memory" in line
    folder = tmp_path / ("memory" if version1 else "") / where
    folder.mkdir(parents=True)
    names = memory.CGROUPS[1 if version1 else 0]
    for name, text in zip(names, ("1000", "700", f"{names[3]} 200"), strict=False):
        (folder / name).write_text(f"{text}\n")
    (tmp_path / "own").write_text(f"7:blkio:/x\n{line}\n")
    assert memory.available(tmp_path, tmp_path / "own") == 500
    assert memory.available(tmp_path, tmp_path / "none") == 5000


# TFDS


@pytest.fixture(scope="module")
def two_formats(tmp_path_factory):
    """The same little set, as files for a stream and as files for random access."""
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 256, (12, 40, 30, 3), np.uint8)
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=2)}
    )
    folders = {}
    for kind in ("tfrecord", "array_record"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        records = tf.data.Dataset.from_tensor_slices({"image": images, "label": np.arange(12) % 2})
        tfds.dataset_builders.store_as_tfds_dataset(
            name="noise", version="1.0.0", features=features, split_datasets={"train": records, "validation": records},
            data_dir=folders[kind], file_format=kind, disable_shuffling=True,
        )  # fmt: skip
    return folders


def test_a_set_that_does_not_fit_is_read_from_where_it_lies(two_formats, monkeypatch):
    of = lambda kind: prepared("tfds:noise", task_of(), directory=str(two_formats[kind]))  # noqa: E731
    in_memory = of("tfrecord")
    one = pipeline.gathered(in_memory.splits["train"])
    monkeypatch.setattr(memory, "available", lambda: 1000)
    there = of("array_record")
    two = pipeline.gathered(there.splits["train"])
    assert there.splits["train"].inputs["image"].whole is None and in_memory.fingerprint() == there.fingerprint()
    assert all(np.array_equal(one[half][key], two[half][key]) for half in (0, 1) for key in one[half])
    with pytest.raises(
        DataError, match="noise has .* half must do; prepared with file_format='array_record' it is read"
    ):
        of("tfrecord")
