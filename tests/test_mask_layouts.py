"""Layouts of masks that others made: PASCAL VOC, CamVid's three, colours by a table; and what is wrong with one."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import DataError
from cnn_app.inputs.image import Image
from cnn_app.jobs import sources
from cnn_app.recipe import Data
from cnn_app.tasks import mask_colours, mask_layouts
from cnn_app.tasks.segmentation import IGNORED, Segmentation

SIDE = 16
COLOURS = np.array([[128, 128, 128], [128, 0, 0], [0, 0, 0]], np.uint8)  # of sky, building and void
TABLE = "sky,128,128,128\nbuilding,128,0,0\nVoid,0,0,0\n"
CAMVID = Path(os.environ.get("CNN_APP_DATA", "nowhere")) / "camvid"


def values(i):
    """Of mask i: 0, 1 and 2, each somewhere."""
    return np.random.default_rng(i).integers(0, 3, (SIDE, SIDE)).astype(np.uint8)


def save(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Picture.Image) else Picture.fromarray(array)).save(file)


def palette(array):
    found = Picture.fromarray(7 - array).convert("P")  # its places are others
    found.putpalette(np.concatenate([np.full((5, 3), 9, np.uint8), COLOURS[::-1]]).tobytes())
    return found


def read(root, **task):
    """Masks by split as a network of their own size takes them, names of records, and the labels."""
    made = Segmentation(input=Image((SIDE, SIDE, 3)), **task)
    data = Data(source=str(root))
    dataset = sources.prepared(made, made.load(data), data)
    found = {name: pipeline.gathered(split)[1]["mask"] for name, split in dataset.splits.items()}
    return found, {name: list(split.names) for name, split in dataset.splits.items()}, dataset.labels


def pictures(root, where, draw=lambda array: array, end=".png", numbers=range(3)):
    images, masks = where
    for i in numbers:
        save(root / images / f"{i}.jpg", np.full((SIDE, SIDE, 3), 20 * i, np.uint8))
        save(root / masks / f"{i}{end}", draw(values(i)))


def voc(root, lists=True):
    pictures(root, ("JPEGImages", "SegmentationClass"), lambda array: np.where(array == 2, 255, array + 19))
    save(root / "JPEGImages" / "boxes only.jpg", np.zeros((9, 9, 3), np.uint8))  # most pictures have no mask
    for name, stems in (("train", "0\n2\n"), ("val", "1\n\n"), ("trainval", "0\n1\n2\n")) if lists else ():
        file = root / "ImageSets" / "Segmentation" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(stems)
    return root


# --- where they lie


def test_pascal_voc_goes_by_its_lists_and_labels(tmp_path):
    found, names, labels = read(voc(tmp_path))
    assert labels == mask_layouts.VOC_LABELS and len(labels) == 21 and labels[15] == "person"
    assert names["train"] == ["JPEGImages/0.jpg", "JPEGImages/2.jpg"] and names["val"] == ["JPEGImages/1.jpg"]
    np.testing.assert_array_equal(found["train"][1], np.array([19, 20, IGNORED])[values(2)])
    (tmp_path / "labels.txt").write_text("".join(f"c{i}\n" for i in range(30)))
    assert read(tmp_path)[2][29] == "c29"


def test_pascal_voc_without_lists_is_divided(tmp_path):
    _, names, _ = read(voc(tmp_path, lists=False))
    assert sorted(sum(names.values(), [])) == [f"JPEGImages/{i}.jpg" for i in range(3)]


@pytest.mark.parametrize(("beside", "end"), [("annot", ".png"), ("_labels", "_L.png")])
def test_camvid_has_a_folder_of_masks_beside_each_split(tmp_path, beside, end):
    for number, name in enumerate(("train", "val", "test")):
        pictures(tmp_path, (name, f"{name}{beside}"), end=end, numbers=range(3 * number, 3 * number + 3))
    found, names, labels = read(tmp_path, ignore=2)
    assert labels == ("0", "1") and names["test"] == ["test/6.jpg", "test/7.jpg", "test/8.jpg"]
    np.testing.assert_array_equal(found["val"][0], np.array([0, 1, IGNORED])[values(3)])


def test_camvid_as_it_is_published(tmp_path):
    """One folder of pictures, one of coloured masks whose names end in _L, and the table with names behind."""
    pictures(tmp_path, mask_layouts.STILLS, lambda array: COLOURS[array], "_L.png", range(8))
    (tmp_path / "label_colors.txt").write_text("128 128 128\tSky\n128 0 0\t\tBuilding wall\n0 0 0\t\tVoid\n")
    found, names, labels = read(tmp_path)
    assert labels == ("Sky", "Building wall") and sum(map(len, found.values())) == 8
    for name, split in names.items():
        for record, mask in zip(split, found[name], strict=True):
            np.testing.assert_array_equal(mask, np.array([0, 1, IGNORED])[values(int(Path(record).stem))])


def test_a_name_that_ends_in_the_mark_is_its_own(tmp_path):
    for stem in ("a", "a_L", "_L"):
        save(tmp_path / "images" / f"{stem}.png", np.zeros((SIDE, SIDE, 3), np.uint8))
        save(tmp_path / "masks" / f"{stem}.png", values(0))
    images, masks = mask_layouts.found(tmp_path).pairs["train"]
    assert [file.name for file in images] == [file.name for file in masks] == ["_L.png", "a.png", "a_L.png"]


# --- colours


@pytest.mark.parametrize("name", mask_colours.TABLES)
@pytest.mark.parametrize("draw", [lambda array: COLOURS[array], palette, lambda array: Picture.fromarray(
    COLOURS[array]).convert("RGBA")], ids=["colours", "a palette", "with alpha"])  # fmt: skip
def test_colours_are_classes_by_a_table(tmp_path, name, draw):
    pictures(tmp_path, ("train/images", "train/masks"), draw)
    pictures(tmp_path, ("val/images", "val/masks"), draw)
    (tmp_path / name).write_text(f"name,r,g,b\n{TABLE}" if name == "class_dict.csv" else TABLE)
    found, _, labels = read(tmp_path)
    assert labels == ("sky", "building")
    np.testing.assert_array_equal(found["train"], [np.array([0, 1, IGNORED])[values(i)] for i in range(3)])


def test_black_and_white_by_a_table_of_two(tmp_path):
    """Grey masks have colours, too; the order is the table's."""
    pictures(tmp_path, ("images", "masks"), lambda array: (array % 2 * 255).astype(np.uint8), numbers=range(6))
    (tmp_path / "colors.csv").write_text("white,255,255,255\nblack,0,0,0\n")
    found, names, labels = read(tmp_path)
    assert labels == ("white", "black")
    np.testing.assert_array_equal(found["val"][0], 1 - values(int(Path(names["val"][0]).stem)) % 2)


@pytest.mark.parametrize(
    "text",
    ["name,r,g,b\nroad,1,2,3\n# more\n\nthe sky,4,5,6\n", "1 2 3 road\n4 5 6 the sky", "1,2,3,road\n4,5,6,the sky",
     "\ufeffroad 1 2 3\r\nthe sky 4 5 6\r\n", "road, 1, 2, 3\n\"the sky\",4,5,6\n"],
)  # fmt: skip
def test_tables_are_written_in_several_ways(tmp_path, text):
    (tmp_path / "colors.csv").write_bytes(text.encode())
    found = mask_colours.of_folder(tmp_path)
    assert found.names == ("road", "the sky") and found.table.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TABLE + "sky,1,1,1\n", "colors.csv:4 has the name of line 1 again; each class has its own"),
        (TABLE + "moon,128,0,0\n", "colors.csv:4 has the colour of line 2 again"),
        ("sky,1,2,300\n", "colors.csv:1 has a colour of 300; red, green and blue lie between 0 and 255"),
        (TABLE + "moon,1,2\n", "colors.csv:4 is 'moon 1 2'; a line is a name and red, green and blue"),
        (TABLE + "1,2,3\n", "colors.csv:4 is '1 2 3'; a line is a name"),
        (TABLE + "moon,-1,2,3\n", "colors.csv:4 is 'moon -1 2 3'"),
        ("name,r,g,b\n", "colors.csv has 0 classes"),
        ("".join(f"c{i},{i},0,0\n" for i in range(255)), "colors.csv has 255 classes; masks of bytes hold 254"),
        (b"\xff\n", "colors.csv is not UTF-8; save it as that"),
        ("sky,1,2,3\n", "has one class only (sky); masks need two or more"),
    ],
)
def test_a_table_that_makes_no_sense_is_one_line(tmp_path, text, told):
    pictures(tmp_path, ("images", "masks"), lambda array: COLOURS[array])
    (tmp_path / "colors.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert told in line(tmp_path)


# --- what is wrong


def line(data):
    """The one line of a training that is refused before its first step."""
    columns = ("-c", "width=2", "-c", "depth=1", "-c", "padding=same", "--image", f"{SIDE}x{SIDE}x3")
    more = ("--epochs", "1", "--out", str(data / "model"))
    result = CliRunner().invoke(cli, ["train", "unet", *columns, *more, "--data", str(data)])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and not result.stdout, result.output
    assert not (data / "model").exists()
    return result.stderr


def put(file, array):
    return lambda root: save(root / file, array)


def write(file, text):
    def change(root):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)

    return change


STRANGE = np.tile(COLOURS[0], (SIDE, SIDE, 1))
STRANGE[5, 3] = 1, 2, 3
LISTS = "ImageSets/Segmentation"
WRONG = {
    "a colour": (
        put("valannot/1.png", STRANGE),
        "cannot read val/1.jpg: its mask valannot/1.png has the colour 1,2,3 at x=3, y=5, which is not in colors.csv",
    ),
    "another size": (put("valannot/1.png", STRANGE[1:]), "valannot/1.png has 16x15 pixels, its image 1.jpg 16x16"),
    "16 bits": (put("valannot/1.png", np.zeros((SIDE, SIDE), np.uint16)), "it is of mode I;16; masks by colour are"),
    "two tables": (write("class_dict.csv", TABLE), "has colors.csv and class_dict.csv; keep one table of colours"),
    "other labels": (write("labels.txt", "sky\nmoon\n"), "labels.txt and colors.csv name other classes"),
    "no masks of a split": (put("test/9.png", STRANGE), "has test/ but no testannot/ with its masks; add it"),
    "no images of a split": (put("testannot/9.png", STRANGE), "has testannot/ but no images for it"),
    "no mask": (put("val/9.png", STRANGE), "val/9.png has no mask; add it or remove the file"),
    "no image": (put("valannot/9.png", STRANGE), "valannot/9.png has no image; add it or remove the file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_told_before_any_step(tmp_path, case):
    change, told = WRONG[case]
    for name in ("train", "val"):
        pictures(tmp_path, (name, f"{name}annot"), lambda array: COLOURS[array])
    (tmp_path / "colors.csv").write_text(TABLE)
    change(tmp_path)
    assert told in line(tmp_path)


VOC_WRONG = {
    "no picture": (write(f"{LISTS}/train.txt", "0\nx\n"), "train.txt:2 lists 'x', which JPEGImages/ lacks; add it or"),
    "no mask": (write(f"{LISTS}/val.txt", "boxes only\n"), "val.txt:1 lists 'boxes only', which SegmentationClass/ l"),
    "twice": (write(f"{LISTS}/val.txt", "1\n0\n1\n"), "val.txt:3 lists '1', which line 1 has; remove one of them"),
    "nothing": (write(f"{LISTS}/val.txt", "\n"), "val.txt is empty; list names of pictures, a line each, or remove it"),
    "no train": (lambda root: (root / LISTS / "train.txt").unlink(), "has val but no train.txt; add it, or remove"),
    "a label": (put("SegmentationClass/2.png", values(0) + 19), "its mask SegmentationClass/2.png has the value 21"),
    "no pictures": (lambda root: (root / "JPEGImages").rename(root / "away"), "no JPEGImages/; add it"),
}  # fmt: skip


@pytest.mark.parametrize("case", VOC_WRONG)
def test_what_does_not_fit_in_voc(tmp_path, case):
    change, told = VOC_WRONG[case]
    change(voc(tmp_path))
    assert told in line(tmp_path)


def test_colours_without_a_table_ask_for_one(tmp_path):
    pictures(tmp_path, ("images", "masks"), lambda array: COLOURS[array])
    with pytest.raises(DataError, match="a value a class, or have a table of their colours, colors.csv"):
        read(tmp_path)


@pytest.mark.skipif(not CAMVID.is_dir(), reason="CNN_APP_DATA names no folder with camvid")
def test_camvid_is_the_same_in_every_layout(tmp_path):
    """The real pictures by symbolic links, and their masks in colours."""
    names = (CAMVID / "labels.txt").read_text().split()
    table = np.random.default_rng(0).integers(0, 256, (len(names), 3)).astype(np.uint8)
    for split in ("train", "val"):
        (tmp_path / f"{split}annot").mkdir()
        (tmp_path / split).symlink_to(CAMVID / split / "images")
        for file in (CAMVID / split / "masks").iterdir():
            with Picture.open(file) as mask:
                Picture.fromarray(table[np.asarray(mask)]).save(tmp_path / f"{split}annot" / f"{file.stem}_L.png")
    rows = (f"{name},{','.join(map(str, colour))}\n" for name, colour in zip(names, table.tolist(), strict=True))
    (tmp_path / "colours.csv").write_text("".join(rows))
    (own, _, labels), (other, _, again) = read(CAMVID), read(tmp_path)
    assert labels == again == tuple(names[:-1]) and len(own["train"]) == 184 and len(own["val"]) == 51
    for split in ("train", "val"):
        np.testing.assert_array_equal(own[split], other[split])
