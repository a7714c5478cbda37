"""Clips: what files and folders of frames hold, which frames are seen, and the chain from them to a phone."""

import hashlib
import io
import json
import struct
import sys
import tarfile

import browsing
import click.testing
import keras
import numpy as np
import pytest
import served
import tensorflow as tf
from PIL import Image as Pillow

import cnn_app
from cnn_app import data, inputs, registry, tasks
from cnn_app.analysis import inspection
from cnn_app.analysis.complexity import complexity
from cnn_app.analysis.receptive_field import TIME, views
from cnn_app.architectures import c3d
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import motion
from cnn_app.errors import DataError, ModelError, TrainingError
from cnn_app.export import run as exporting
from cnn_app.export.frames import framewise
from cnn_app.export.quantization import simulation
from cnn_app.inputs import clip_files, clip_folders, clip_places, files
from cnn_app.inputs.clip import Clip
from cnn_app.layers import (
    FrameMax,
    FramesApart,
    FrameStack,
    FramesTogether,
    FramewiseConv3D,
    FramewiseMaxPooling3D,
    volumes,
)
from cnn_app.layers.volumes import by_frames
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.latency import Speed
from cnn_app.serving.server import engines, warmup

SMALL = {"image": (16, 16, 3), "frames": 4, "channels": (4, 8), "depths": (1, 1), "units": 16, "dropout": 0.0}
WAYS = {"down": (0, 1), "right": (1, 0), "still": (0, 0)}
TAKEN = Clip((16, 16, 3), frames=4)


def filmed(label, seed, frames=6, side=16):
    """A bright square on dark noise that goes somewhere, uint8 (frames, side, side, 3)."""
    rng = np.random.default_rng([seed, *label.encode()])
    clip = np.tile(rng.integers(0, 60, (1, side, side, 3)), (frames, 1, 1, 1)).astype(np.uint8)
    x, y = rng.integers(1, side - 6 - frames, 2)
    for t in range(frames):
        dx, dy = (t * way for way in WAYS[label])
        clip[t, y + dy : y + dy + 5, x + dx : x + dx + 5] = 220
    return clip


def gif(clip, **how):
    first, *rest = map(Pillow.fromarray, clip)
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=rest, **how)
    return out.getvalue()


def png(frame):
    out = io.BytesIO()
    Pillow.fromarray(frame).save(out, "PNG")
    return out.getvalue()


def in_folder(clip, place):
    place.mkdir(parents=True)
    for number, frame in enumerate(clip):
        (place / f"frame{number}.png").write_bytes(png(frame))
    return place


def packed(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def numbered(count, side=8):
    """Frame t is all of the value t."""
    return np.tile(np.arange(count, dtype=np.uint8)[:, None, None, None], (1, side, side, 3))


# --- files


def test_frames_of_a_folder_follow_each_other_as_people_count(tmp_path):
    place = in_folder(numbered(12), tmp_path / "clip")
    (place / "notes.txt").write_text("no frame")
    (place / ".hidden.png").write_bytes(b"no")
    reel = clip_files.opened(clip_folders.content(place))
    assert (reel.frames, reel.width, reel.height) == (12, 8, 8)
    np.testing.assert_array_equal(reel.read([0, 2, 10, 11]), numbered(12)[[0, 2, 10, 11]])


@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_a_gif_is_read_as_the_graph_reads_it(disposal):
    """Frames that are told as a part of the one before; the first lets through, where there is black behind."""
    clip = [Pillow.fromarray(frame).convert("RGBA") for frame in filmed("right", 3)]
    clip[0].putalpha(Pillow.fromarray(np.repeat(np.uint8([0, 255]), 128).reshape(16, 16)))
    out = io.BytesIO()
    clip[0].save(out, "GIF", save_all=True, append_images=clip[1:], disposal=disposal)
    wanted = tf.io.decode_gif(out.getvalue()).numpy()
    reel = clip_files.opened(out.getvalue())
    assert reel.frames == len(wanted) == 6 and wanted[0, :8].max() == 0
    np.testing.assert_array_equal(reel.read(range(6)), wanted)


def test_a_gray_frame_has_white_behind_it_and_lies_as_it_is_meant():
    image = Pillow.fromarray(
        np.dstack([np.full((6, 8), 100, np.uint8), np.repeat(np.uint8([[0, 255]]), 24).reshape(6, 8)])
    )
    out, exif = io.BytesIO(), Pillow.Exif()
    exif[0x0112] = 6
    image.save(out, "PNG", exif=exif)
    found = clip_files.still(out.getvalue())
    assert found.shape == (8, 6, 3)
    from cnn_app.inputs import pixels

    np.testing.assert_array_equal(found, pixels.whole(out.getvalue(), "it"))
    jpeg = io.BytesIO()
    Pillow.fromarray(filmed("down", 1, side=32)[0]).save(jpeg, "JPEG", quality=60)
    np.testing.assert_array_equal(clip_files.still(jpeg.getvalue()), pixels.whole(jpeg.getvalue(), "it"))


GIF = gif(filmed("right", 0))
HUGE = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + GIF[10:]
OUTSIDE = GIF[: GIF.index(b"\x2c\0\0\0\0") + 5] + b"\xff\0" + GIF[GIF.index(b"\x2c\0\0\0\0") + 7 :]
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"this is no clip", "it is no GIF, MP4 or TAR of images"),
    "an image": (png(numbered(1)[0]), "it is no GIF, MP4 or TAR of images"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(99), "it is no GIF"),
    "cut off": (GIF[: len(GIF) // 2], "it is cut off"),
    "a header alone": (GIF[:13], "it is cut off"),
    "no frame": (GIF[: 13 + 768] + b";", "it has"),
    "huge": (HUGE, "60000x60000 pixels; more than 64,000,000 are refused"),
    "outside": (OUTSIDE, "its frame 1 reaches out of the image"),
    "small": (gif(np.zeros((2, 2, 2, 3), np.uint8)), "it has 2x2 pixels; at least 4x4 are needed"),
    "no images": (packed({"a.txt": b"no"}), "it is a TAR without images"),
    "damaged TAR": (packed({"a.png": png(numbered(1)[0])})[:300] + b"\xff" * 400, "TAR"),
    "a bad frame": (packed({"a.png": b"no"}), "its frame a.png: it is no JPEG"),
    "two sizes": (packed({"a.png": png(numbered(1)[0]), "b.png": png(numbered(1, 9)[0])}), "b.png has 9x9 pixels, the "
                                                                                          "first 8x8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_clip_is_told_in_a_line(name):
    found, told = BAD[name]
    with pytest.raises(DataError) as error:
        TAKEN.load(found, "it.gif")
    assert str(error.value).startswith("cannot read it.gif: ") and told in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_bytes_are_errors_of_data_and_no_others():
    rng = np.random.default_rng(0)
    whole = (GIF, packed({f"{i}.png": png(frame) for i, frame in enumerate(filmed("right", 0))}))
    refused = 0
    for number in range(300):
        found = bytearray(whole[number % 2])
        for place in rng.integers(0, len(found) - 4, rng.integers(1, 8)):
            found[place : place + rng.integers(0, 4)] = rng.bytes(rng.integers(0, 6))
        try:
            reel = clip_files.opened(bytes(found))
            assert reel.read([0, reel.frames - 1]).shape == (2, reel.height, reel.width, 3)
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 100 < refused < 300


def test_bounds_of_frames_and_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(clip_files, "MAX_FRAMES", 5)
    for found in (GIF, packed({f"{i}.png": png(numbered(1)[0]) for i in range(6)})):
        with pytest.raises(DataError, match="more than 5 frames"):
            clip_files.opened(found)
    monkeypatch.setattr(clip_files, "MAX_FRAMES", 50)
    monkeypatch.setattr(clip_files, "MAX_TOTAL", 6 * 256 - 1)
    with pytest.raises(DataError, match="6 frames of 16x16 pixels; more than 1,535 pixels are refused"):
        clip_files.opened(GIF)
    monkeypatch.setattr(clip_folders, "MAX_BYTES", 1200)
    with pytest.raises(DataError, match="frame1.png is larger than"):
        clip_folders.content(in_folder(filmed("still", 0), tmp_path / "clip"))
    assert Clip.decoded_bytes(gif(numbered(3)), files.MAX_PIXELS) == 3 * 64 * (3 + 4)
    with pytest.raises(DataError, match="8x8 pixels; more than 63"):
        Clip.decoded_bytes(gif(numbered(3)), 63)


def test_a_video_without_the_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"it is MP4, which needs: pip install 'cnn-app\[video\]'"):
        TAKEN.load(b"\0\0\0\x18ftypisom" + bytes(99), "it.mp4")


def mp4(clip, rotation=0):
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def test_a_video_is_read():
    clip = filmed("right", 5, frames=9, side=32)
    found = mp4(clip)
    reel = clip_files.opened(found)
    assert (reel.frames, reel.width, reel.height) == (9, 32, 32)
    read = reel.read([0, 4, 4, 8])
    for one, place in zip(read.astype(int), (0, 4, 4, 8), strict=True):
        assert int(np.argmin(np.abs(one - clip).mean((1, 2, 3)))) == place
    np.testing.assert_array_equal(reel.read([7, 30]), reel.read([7, 8]))  # fewer frames than its packets said
    assert TAKEN.parts(found, "it")["clip"].shape == (3, 4, 16, 16, 3)
    for damaged in (found[: len(found) // 3], found[:40] + b"\xff" * 400):
        with pytest.raises(DataError, match="cannot read it: it is a damaged MP4|cannot read it: it has no"):
            TAKEN.parts(damaged, "it")


# --- which frames


def test_places_by_hand():
    assert clip_places.places(10, 4, 1, 0).tolist() == [0, 1, 2, 3]
    assert clip_places.places(10, 4, 1, 1).tolist() == [6, 7, 8, 9]
    assert clip_places.places(10, 4, 1, 0.5).tolist() == [3, 4, 5, 6]
    assert clip_places.places(10, 4, 3, 0.5).tolist() == [0, 3, 6, 9]
    assert clip_places.places(3, 4, 2, 0.9).tolist() == [0, 2, 2, 2]  # the last frame again
    assert clip_places.shares(4, 4, 1).tolist() == [0.5] and clip_places.shares(9, 4, 1).tolist() == [0, 0.5, 1]
    assert len(clip_places.shares(1000, 4, 1)) == 10


@pytest.mark.parametrize(("count", "step"), [(3, 1), (10, 1), (12, 2)])
def test_files_arrays_and_the_graph_see_the_same_frames(count, step):
    taken, clip = Clip((8, 8, 3), frames=4, step=step), numbered(count)
    wanted = clip_places.places(count, 4, step, 0.5)
    encoded = packed({f"{i:02d}.png": png(frame) for i, frame in enumerate(clip)})
    assert taken.decoder()(encoded)["clip"][:, 0, 0, 0].tolist() == wanted.tolist()
    ((spec, convert),) = taken.converters().values()
    for raw in (tf.constant(encoded), tf.constant(clip)):
        found = tf.function(convert)(raw)
        assert found.shape == spec.shape and found[:, 0, 0, 0].numpy().tolist() == wanted.tolist()
    graph = {name: body for name, _, body in taken.signatures()}
    moving = filmed("right", 1, frames=min(count, 9), side=24)
    wanted = Clip((16, 16, 3), frames=4, step=step).decoder()(gif(moving))["clip"]
    body = dict((name, body) for name, _, body in Clip((16, 16, 3), frames=4, step=step).signatures())["clip_bytes"]
    np.testing.assert_array_equal(body(tf.constant([gif(moving)]))["clip"][0], wanted)
    assert set(graph) == {"serving_default", "float_pixels", "clip_bytes"}


def test_a_run_is_drawn_anew_and_its_frames_follow_each_other():
    taken, clip = Clip((8, 8, 3), frames=4, step=2), numbered(20)
    assert taken.samplers(("crop",)) == {}
    ((names, sample),) = taken.samplers(("run", "crop")).values()
    drawn = [sample(tf.constant(clip), tf.constant([7, i], tf.int64)).numpy()[:, 0, 0, 0] for i in range(60)]
    assert names == ("run",) and all((np.diff(run.astype(int)) == 2).all() for run in drawn)
    assert {int(run[0]) for run in drawn} >= {0, 13} and max(run[-1] for run in drawn) == 19
    again = tf.function(sample)(
        tf.constant(packed({f"{i:02d}.png": png(f) for i, f in enumerate(clip)})), tf.constant([7, 3], tf.int64)
    )
    np.testing.assert_array_equal(again[:, 0, 0, 0], drawn[3])


def test_frames_are_brought_to_size_as_images_are():
    from cnn_app.inputs import pixels
    from cnn_app.inputs.image import Image

    clip = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3)).astype(np.uint8)
    for resize in registry.RESIZES:
        taken = Clip((12, 10, 1), resize, frames=4)
        found = taken.decoder()(packed({f"{i}.png": png(frame) for i, frame in enumerate(clip)}))["clip"]
        for one, frame in zip(found, clip, strict=True):
            np.testing.assert_array_equal(one, pixels.load(png(frame), "it", Image((12, 10, 1), resize)))
        assert inputs.of_facts(taken.facts()) == taken


def test_facts_that_make_no_sense():
    assert inputs.of_facts({"kind": "clip", "image": [8, 8, 3], "frames": 4}) == Clip((8, 8, 3), frames=4)
    with pytest.raises(ValueError, match="0 frames with a step of 1 has no length"):
        Clip.of_facts({"image": [8, 8, 3], "frames": 0})
    specs = Clip((8, 8, 3), frames=4).specs()
    assert Clip.of_specs(specs) == Clip((8, 8, 3), frames=4) == inputs.of_specs(specs)


# --- changes


def test_all_frames_of_a_clip_change_alike():
    clips = np.random.default_rng(0).integers(0, 256, (6, 1, 16, 16, 3)).astype(np.uint8).repeat(5, 1)
    taken = Clip((16, 16, 3), frames=5)
    for names in (("crop",), ("rotate",), ("resized-crop",), ("jitter",), ("mirror",), ("crop", "rotate", "jitter")):
        found = taken.augmented({"clip": clips}, (3, 5), names)["clip"].numpy()
        assert found.shape == clips.shape and (found != clips).any(), names
        np.testing.assert_array_equal(found, found[:, :1].repeat(5, 1), err_msg=str(names))
        assert len({frame.tobytes() for frame in found[:, 0]}) == 6
    moving = numbered(5, 16)[None]
    for names in (("crop", "rotate", "resized-crop"), ("mirror",)):
        np.testing.assert_array_equal(taken.augmented({"clip": moving}, (3, 5), names)["clip"], moving)


def test_no_default_and_no_preset_turns_left_into_right():
    """A clip seen from behind moves the other way, so that has a name of its own."""
    from cnn_app.augmentations import AUGMENT, FINETUNE_AUGMENT
    from cnn_app.jobs.train import with_known_augmentations

    task = tasks.named("classification")(input=TAKEN, labels=("left", "right"))
    for names, found in ((AUGMENT, ("crop", "run")), (FINETUNE_AUGMENT, ("crop", "run")),
                         (("light",), ("crop", "run")), (("strong",), ("resized-crop", "run")),
                         (("mirror", "light"), ("mirror", "crop", "run"))):  # fmt: skip
        assert with_known_augmentations(task, Schedule(augment=names)).augment == found
    with pytest.raises(
        TrainingError, match="clips for classification cannot be changed by 'flip'; known: crop, rotate"
    ):
        with_known_augmentations(task, Schedule(augment=("flip",)))
    clip = filmed("right", 0)[None]
    seen = Clip((16, 16, 3), frames=6).augmented({"clip": clip}, (0, 1), ("mirror",))["clip"].numpy()
    assert (seen == clip).all() or (seen == clip[:, :, :, ::-1]).all()


# --- networks


def test_counts_by_hand():
    """Section 3.1 of the paper tells 17.5 million parameters of a network with five convolutions and 2048 units."""
    conv = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)]
    places = [16 * 112**2, 16 * 56**2, *[8 * 28**2] * 2, *[4 * 14**2] * 2, *[2 * 7**2] * 2]
    dense = [(512 * 4 * 4, 4096), (4096, 4096), (4096, 487)]
    counted = complexity(cnn_app.create_model("c3d"))
    assert counted.trainable == sum((27 * i + 1) * o for i, o in conv) + sum((i + 1) * o for i, o in dense)
    macs = sum(27 * i * o * at for (i, o), at in zip(conv, places, strict=True)) + sum(i * o for i, o in dense)
    assert (counted.trainable, counted.macs) == (79_991_015, 38_548_959_232) == REFERENCE["c3d"][:2]
    assert counted.macs == macs and counted.trainable - 386 * 4097 == 78_409_573  # 101 classes of UCF101

    columns = {"channels": (64, 128, 256, 256, 256), "depths": (1,) * 5, "units": 2048, "classes": 101}
    assert round(complexity(cnn_app.create_model("c3d", **columns)).trainable / 1e6, 1) == 17.4

    small = cnn_app.create_model("c3d_small")
    conv, norms = [(3, 8), (8, 16), (16, 32), (32, 64)], 2 * (8 + 16 + 32 + 64)
    dense = [(64 * 2 * 2, 128), (128, 128), (128, 8)]
    counted = complexity(small)
    assert counted.trainable == sum(27 * i * o for i, o in conv) + norms + sum((i + 1) * o for i, o in dense)
    assert counted.moving_statistics == norms and (counted.trainable, counted.macs) == REFERENCE["c3d_small"][:2]


def test_what_is_seen_of_space_and_of_time():
    """After two stages: 3 + 1 pixels, then 2 * 2 + 2 more; frames are not pooled by the first."""
    model = cnn_app.create_model("c3d", classes=3, units=8, width=0.05)
    space, time = views(model), views(model, TIME)
    told = {
        name: (space[name].size, space[name].stride, time[name].size, time[name].stride)
        for name in ("stage1_unit1_conv", "stage1_pool", "stage2_unit1_conv", "stage2_pool", "flatten")
    }
    assert told == {
        "stage1_unit1_conv": (3, 1, 3, 1), "stage1_pool": (4, 2, 3, 1), "stage2_unit1_conv": (8, 2, 5, 1),
        "stage2_pool": (10, 4, 6, 2), "flatten": (None, 1, None, 1),
    }  # fmt: skip
    rows = {row.name: row for row in inspection.stages(inspection.rows(model))}
    assert (rows["stage2"].receptive_field, rows["stage2"].receptive_frames, rows["logits"].receptive_frames) == (
        10, 6, None
    )  # fmt: skip
    result = click.testing.CliRunner().invoke(cli, ["inspect", "c3d_small"])
    assert result.exit_code == 0 and "frames" in result.output.splitlines()[1]


def test_forward_pass_by_hand_save_and_reload(tmp_path):
    """A convolution is a sum over its 27 places."""
    model = cnn_app.create_model("c3d", **SMALL, classes=3)
    given = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3)).astype(np.float32)
    x = given / 127.5 - 1
    for stage, time in ((1, 1), (2, 2)):
        kernel, bias = model.get_layer(f"stage{stage}_unit1_conv").get_weights()
        padded = np.pad(x, ((0, 0), *((1, 1),) * 3, (0, 0)))
        sides = x.shape[1:4]
        x = bias + sum(padded[:, t : t + sides[0], i : i + sides[1], j : j + sides[2]] @ kernel[t, i, j]
                       for t in range(3) for i in range(3) for j in range(3))  # fmt: skip
        n, t, h, w, c = x.shape
        x = np.maximum(0, x).reshape(n, t // time, time, h // 2, 2, w // 2, 2, c).max((2, 4, 6))
    x = x.reshape(2, -1)
    for name in ("fc6", "fc7", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = x if name == "logits" else np.maximum(0, x)
    logits = model.predict_on_batch(given)
    np.testing.assert_allclose(logits, x, atol=2e-4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras").predict_on_batch(given), logits)
    assert [*c3d.features(registry.spec("c3d", **SMALL), keras.Input((4, 16, 16, 3)))] == [
        "stage1", "pool1", "stage2", "pool2"
    ]  # fmt: skip


@pytest.mark.parametrize(("columns", "told"), [
    ({"channels": (8,)}, r"for each stage, received \[8\] and \[1, 1, 2, 2, 2\]"),
    ({"channels": (), "depths": ()}, r"for each stage, received \[\]"),
    ({"frames": 0}, "one frame or more, and a step of one or more, received 0 and 1"),
    ({"step": 0}, "received 16 and 0"),
    ({"image": (4, 4, 3)}, "at least 8x8, received 4x4x3"),
    ({"classes": 0}, "at least one class"),
])  # fmt: skip
def test_what_cannot_be_built_is_told(columns, told):
    with pytest.raises(ModelError, match=told):
        cnn_app.create_model("c3d", **columns)


# --- frame by frame


@pytest.mark.parametrize(("frames", "size"), [(5, 3), (4, 2), (1, 3), (4, 1)])
def test_stacked_frames_convolve_as_three_dimensions_do(frames, size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, frames, 6, 5, 3)).astype(np.float32)
    layer = keras.layers.Conv3D(4, (size, 3, 3), padding="same")
    wanted = layer(x)
    flat = FramesApart()(x)
    kernel = by_frames(layer.kernel)
    assert kernel.shape == (3, 3, 3 * size, 4)
    for given, whole in ((flat, wanted), (flat[:frames], wanted[:1])):  # several clips, and one alone
        beside = FrameStack(frames, size)(given)
        found = keras.ops.conv(beside, kernel, 1, "same", "channels_last")
        np.testing.assert_allclose(FramesTogether(frames)(found), whole, atol=1e-5)
    pooled = keras.layers.MaxPooling3D((2, 1, 1), padding="same")(x)
    np.testing.assert_array_equal(FramesTogether(-(-frames // 2))(FrameMax(frames, 2)(flat)), pooled)
    for one in (FrameStack(frames, size), FrameMax(frames, 2), FramesTogether(frames), FramesApart()):
        assert type(one).from_config(one.get_config()).get_config() == one.get_config()
    assert FrameStack(frames, size).compute_output_shape((None, 6, 5, 3)) == (None, 6, 5, 3 * size)


@pytest.mark.parametrize(("frames", "size", "bias"), [(5, 3, True), (4, (1, 3, 3), False), (1, 3, True)])
def test_layers_by_frames_are_keras_own(monkeypatch, frames, size, bias):
    """With their gradients, of sides and frames that windows do not divide; and with a GPU they are those."""
    x = tf.constant(np.random.default_rng(0).normal(size=(2, frames, 7, 5, 3)), tf.float32)
    ours = [FramewiseConv3D(4, size, use_bias=bias, activation="relu"), FramewiseMaxPooling3D((2, 2, 2))]
    theirs = [keras.layers.Conv3D(4, size, padding="same", use_bias=bias, activation="relu"),
              keras.layers.MaxPooling3D(2, padding="same")]  # fmt: skip

    def results(both):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = both[1](both[0](x))
            loss = tf.reduce_sum(y**3)
        return [y, *tape.gradient(loss, [x, *both[0].trainable_variables])]

    results(theirs)
    ours[0].build(x.shape)
    ours[0].set_weights([weight + 0.1 for weight in theirs[0].get_weights()])
    theirs[0].set_weights(ours[0].get_weights())
    wanted = results(theirs)
    for has_gpu in (False, True):
        monkeypatch.setattr(volumes, "_has_gpu", lambda has_gpu=has_gpu: has_gpu)
        for one, other in zip(results(ours), wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
    for one in ours:
        assert type(one).from_config(one.get_config()).get_config() == one.get_config()


def test_batch_normalization_of_clips_is_keras_own():
    x = np.random.default_rng(0).normal(2, 3, (3, 4, 5, 6, 7)).astype(np.float32)
    ours, keras_own = cnn_app.layers.FusedBatchNormalization(), keras.layers.BatchNormalization()
    np.testing.assert_allclose(ours(x, training=True), keras_own(x, training=True), atol=1e-4)
    np.testing.assert_allclose(ours.moving_variance, keras_own.moving_variance, rtol=1e-5)
    np.testing.assert_allclose(ours(x), keras_own(x), atol=1e-4)


def test_a_network_by_frames_is_the_same_function():
    """With sides and frames that no pool divides; and one that averages, with activations of its own."""
    rng = np.random.default_rng(0)
    columns = {"frames": 6, "image": (14, 10, 3), "channels": (4, 5, 6), "depths": (1, 2, 1)}
    model = cnn_app.create_model("c3d_small", **columns)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    given = rng.integers(0, 256, (3, 6, 14, 10, 3)).astype(np.float32)
    found = framewise(model)
    assert found is not model and not any(len(layer.output.shape) == 5 for layer in found.layers[3:-7])
    np.testing.assert_allclose(found.predict_on_batch(given), model.predict_on_batch(given), atol=1e-4)
    assert not simulation.obstacle(simulation.folded(found))

    clip = keras.Input((4, 8, 8, 3), name="clip")
    x = keras.layers.Conv3D(4, (1, 3, 3), padding="same", activation="relu", name="a")(
        keras.layers.Rescaling(1 / 255)(clip)
    )
    x = keras.layers.GlobalAveragePooling3D(name="pool")(x)
    other = keras.Model(clip, keras.layers.Dense(2, name="logits")(x))
    given = given[:, :4, :8, :8]
    np.testing.assert_allclose(framewise(other).predict_on_batch(given), other.predict_on_batch(given), atol=1e-5)
    strided = keras.Model(clip, keras.layers.Conv3D(4, 3, 2, padding="same")(clip))
    assert framewise(strided) is strided
    images = cnn_app.create_model("lenet5")
    assert framewise(images) is images


# --- drawn motion


def test_drawn_motion_is_what_its_class_says():
    records = motion.load(Data(source="motion"))
    split = records.splits["train"]
    clips, classes = split.inputs["clip"].array, split.targets["class"].array
    assert clips.shape == (800, 12, 64, 64, 3) and np.bincount(classes).tolist() == [100] * 8
    assert (
        hashlib.sha256(motion.draw("left", np.random.default_rng(1)).tobytes()).digest()
        == hashlib.sha256(motion.draw("left", np.random.default_rng(1)).tobytes()).digest()
    )
    seen = {}
    for label in motion.CLASSES:
        clip = clips[classes == motion.CLASSES.index(label)][:20].astype(int)
        shape = np.abs(clip - np.median(clip[:, :, :3], axis=(2, 3), keepdims=True)).max(-1) > 60
        weights = shape.sum((2, 3))
        middle = [(shape * np.arange(64)[axis]).sum((2, 3)) / weights for axis in (np.s_[None, :], np.s_[:, None])]
        moved = [(place[:, -1] - place[:, 0]).mean() for place in middle]
        seen[label] = (*moved, (weights[:, -1] / weights[:, 0]).mean())
    assert seen["left"][0] < -10 < 10 < seen["right"][0] and seen["up"][1] < -10 < 10 < seen["down"][1]
    assert seen["shrink"][2] < 0.6 and seen["grow"][2] > 1.6
    for label in ("clockwise", "counterclockwise", "grow", "shrink"):
        assert np.abs(seen[label][:2]).max() < 1.5


# --- the chain


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder for each class of GIFs and of folders with frames, and a splits.csv."""
    root, lines = tmp_path_factory.mktemp("clips"), ["file,split"]
    for label in WAYS:
        (root / label).mkdir()
        for seed in range(24):
            clip, name = filmed(label, seed), f"{seed}"
            if seed % 3:
                name += ".gif"
                (root / label / name).write_bytes(gif(clip))
            else:
                in_folder(clip, root / label / name)
            lines.append(f"{label}/{name},{'test' if seed < 5 else 'val' if seed < 8 else 'train'}")
    (root / "splits.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    directory = tmp_path_factory.mktemp("store") / "ways"
    schedule = Schedule(epochs=6, batch=6, lr=0.01, augment=("run",))
    cnn_app.train("c3d_small", str(clips), directory, columns=SMALL, schedule=schedule)
    return directory


@pytest.fixture(scope="module")
def exported(trained, clips):
    targets = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "timed", lambda path: Speed(str(path), 1, 0.0, 0.0, 0.0))  # processes of their own
        found = cnn_app.export(trained, targets, str(clips))
    return {one.target: one for one in found}, trained


@pytest.mark.slow
def test_it_learns_and_its_card_tells_of_clips(trained, clips):
    card = ModelDir(trained).read_card()
    assert card.metrics["test"]["top1"] == 1.0 and card.metrics["test"]["n"] == 15
    assert card.input == {"kind": "clip", "image": [16, 16, 3], "frames": 4, "step": 1} and card.labels == tuple(WAYS)
    assert list(card.recipe["augment"]) == ["run"] and card.data["split"] == {"rule": "file"}
    assert cnn_app.evaluate(trained, str(clips)).report.top1 == 1.0


def test_several_runs_of_a_video_are_averaged(trained, clips):
    found = cnn_app.evaluate(trained, str(clips), tta=("clips",))
    assert found.report.top1 == 1.0 and found.report.loss != cnn_app.evaluate(trained, str(clips)).report.loss
    runtime, clip = open_model(trained), filmed("right", 77)
    seen = Clip((16, 16, 3), frames=4, runs=10)
    ((spec, convert),) = seen.converters().values()
    whole = convert(tf.constant(clip)).numpy()
    assert spec.shape == (40, 16, 16, 3) == whole.shape
    windows = [one["clip"] for one in seen.windows({"clip": whole[None]}, ("clips",))]
    np.testing.assert_array_equal(windows[0][0], clip[:4])
    np.testing.assert_array_equal(windows[-1][0], clip[2:])
    means = np.mean([runtime.run({"clip": one})["probabilities"] for one in windows], 0)
    assert means.shape == (1, 3)
    with pytest.raises(DataError, match="have no views by flip"):
        cnn_app.evaluate(trained, str(clips), tta=("flip",))


def test_every_file_says_what_keras_says(exported):
    found, _ = exported
    assert {name: one.drop for name, one in found.items()} == dict.fromkeys(found, 0)
    assert {name: one.agreement for name, one in found.items()} == dict.fromkeys(found, 1)
    assert max(found[name].max_difference for name in ("saved_model", "tflite-float32", "onnx")) < 1e-4
    assert found["tflite-int8"].strategy == "48 clips" and found["tflite-int8"].max_difference < 0.1


def test_an_int8_file_takes_bytes_and_is_one_delegate(exported):
    from ai_edge_litert.tools import flatbuffer_utils as utils

    _, directory = exported
    file = directory / "mobile" / f"{directory.name}-int8.tflite"
    assert {name: str(spec) for name, spec in open_model(file).inputs.items()} == {"clip": "uint8 (n, 4, 16, 16, 3)"}
    model = utils.read_model(str(file))
    known = utils.schema_fb.BuiltinOperator
    kinds = {model.operatorCodes[operator.opcodeIndex].builtinCode for operator in model.subgraphs[0].operators}
    assert known.CONV_2D in kinds and not {known.CONV_3D, known.CUSTOM} & kinds
    delegates, outside = open_model(file).coverage()
    assert delegates == 1 and sum(outside.values()) <= 1
    saved = (directory / "serving" / "1" / "saved_model.pb").read_bytes()
    assert b"Conv2D" in saved and b"Conv3D" not in saved


def test_servers_take_gifs_and_the_saved_model_decodes_them_itself(exported):
    _, directory = exported
    task = tasks.of(open_model(directory))
    several = [gif(filmed("right", 98)), gif(filmed("down", 97, frames=8)), gif(filmed("still", 96, frames=3))]
    place = directory / "serving" / "1"
    signatures = tf.saved_model.load(str(place)).signatures
    assert set(signatures) == {"serving_default", "float_pixels", "clip_bytes", "features"}
    found = signatures["clip_bytes"](clip_bytes=tf.constant(several))
    taken = np.stack([task.input.load(one, "it")["clip"] for one in several])
    wanted = open_model(directory).run({"clip": taken})["probabilities"]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)
    best = [row[0].decode() for row in found["classes"].numpy()]
    assert best == [tuple(WAYS)[place] for place in wanted.argmax(1)] and best[:2] == ["right", "down"]
    for file in (place, directory / "mobile" / f"{directory.name}-float32.tflite"):
        engine = engines.open_engine(file)
        warmup.warm(engine, file)
        told = engine.run("clip_bytes", {"clip_bytes": np.array(several, object)})
        np.testing.assert_allclose(told["probabilities"], wanted, atol=1e-4)
        engine.close()


@browsing.needs_chromium
@pytest.mark.slow
def test_the_page_takes_clips(exported, browser):
    """Several at once; what moves is shown."""
    _, directory = exported
    with served.running(directory / "serving") as found:
        browsing.visit(browser, found.rest)
        assert browsing.find(browser, "#status").text == "No clip yet."
        assert browsing.find(browser, "#file").get_attribute("accept").startswith(".gif,.tar")
        browsing.give(browser, gif(filmed("down", 97)), name="down.gif", kind="image/gif")
        browsing.answered(browser, "down")
        shown = "return document.getElementById('shown').naturalWidth"
        browsing.wait(browser, lambda: browser.execute_script(shown) == 16)
        several = {f"{way}.gif": gif(filmed(way, 98)) for way in ("right", "down")}
        browsing.give_all(browser, several, kind="image/gif")
        browsing.wait(browser, lambda: browsing.find(browser, "#told").text == "2 clips: 2 answered.")
        assert browsing.labels(browser)[0] == "right"


def test_answers_to_files_and_folders(exported, tmp_path):
    """Of a long video the mean of its runs; bad ones are named, the rest is answered."""
    _, directory = exported
    (tmp_path / "bad.gif").write_bytes(b"no")
    whole = filmed("down", 60, frames=10, side=20)
    in_folder(whole, tmp_path / "frames")
    found = cnn_app.predict(directory, tmp_path)
    assert str(found[0].error) == f"cannot read {tmp_path / 'bad.gif'}: it is no GIF, MP4 or TAR of images"
    parts = tasks.of(open_model(directory)).input.parts(clip_folders.content(tmp_path / "frames"), "it")["clip"]
    assert parts.shape == (3, 4, 16, 16, 3)
    each = open_model(directory).run({"clip": parts})["probabilities"]
    np.testing.assert_allclose(found[1].outputs["probabilities"], each.mean(0), atol=1e-5)
    file = str(directory / "mobile" / f"{directory.name}-int8.tflite")
    asked = ["predict", file, "-", str(tmp_path / "frames"), "--json", "--draw", str(tmp_path / "drawn")]
    result = click.testing.CliRunner().invoke(cli, asked, input=gif(filmed("right", 61)))
    assert result.exit_code == 0 and json.loads(result.stdout)[0]["top"][0]["label"] == "right"
    assert len(list((tmp_path / "drawn").iterdir())) == 2
    with pytest.raises(DataError, match="has no clips in it"):
        (tmp_path / "none").mkdir()
        cnn_app.predict(directory, tmp_path / "none")


def test_a_picture_has_four_frames_and_white_between_them(trained, clips, tmp_path):
    clip = numbered(7)
    found = Clip((8, 8, 3), frames=7).picture({"clip": clip})
    assert found.shape == (18, 18, 3) and (found[8:10] == 255).all() and (found[:, 8:10] == 255).all()
    assert [found[y, x, 0] for y in (0, 10) for x in (0, 10)] == [0, 2, 4, 6]
    cnn_app.evaluate(trained, str(clips)).draw_mistakes(tmp_path / "mistakes.png")
    with Pillow.open(tmp_path / "mistakes.png") as sheet:
        assert sheet.size[0] > 100
    runner = click.testing.CliRunner()
    shown = runner.invoke(
        cli, ["data", "show", str(clips), "--model", "c3d_small", "--out", str(tmp_path / "a.png"), "--n", "8"]
    )
    assert shown.exit_code == 0 and "crop, run" in shown.output, shown.output


@pytest.mark.slow
def test_records_from_arrays_and_bad_files(clips, tmp_path):
    arrays = np.stack([filmed(label, seed) for label in WAYS for seed in range(10)])
    records = data.arrays({"train": (arrays, np.repeat(np.arange(3), 10))}, tuple(WAYS), input="clip")
    card = cnn_app.train("c3d_small", records, tmp_path / "m", columns=SMALL, schedule=Schedule(epochs=1, batch=8))
    assert card.data["counts"]["train"] > 0 and list(card.recipe["augment"]) == ["crop", "run"]
    folder = tmp_path / "data"
    for label in WAYS:
        (folder / label).mkdir(parents=True)
        for seed in range(7):
            (folder / label / f"{seed}.gif").write_bytes(gif(filmed(label, seed)))
    (folder / "down" / "3.gif").write_bytes(GIF[: len(GIF) // 2])
    with pytest.raises(DataError, match="cannot read down/3.gif: it is cut off"):
        cnn_app.train("c3d_small", str(folder), tmp_path / "n", columns=SMALL, schedule=Schedule(epochs=1, batch=8))
    (folder / "none").mkdir()
    with pytest.raises(DataError, match="the class folder 'none' has no clips; add GIF, MP4 or TAR"):
        cnn_app.train("c3d_small", str(folder), tmp_path / "n", columns=SMALL)
    (folder / "none").rmdir()
    (folder / "loop").symlink_to(folder)
    assert len(clip_folders.clips(folder)) == 21
