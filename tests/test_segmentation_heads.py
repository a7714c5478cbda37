"""Decoders of segmentation on backbones that were made for classification."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from test_segmentation import folder, invoked, line

import cnn_app
from cnn_app import heads, tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import ModelError, UnknownName
from cnn_app.export import golden
from cnn_app.heads.segmentation import DECODERS
from cnn_app.inputs.image import Image
from cnn_app.jobs import finetune
from cnn_app.recipe import Export, Schedule, Transfer
from cnn_app.runtimes import open_model

BACKBONES = {
    "lenet5": {"image": (32, 32, 1)},
    "alexnet": {"image": (96, 96, 3)},
    "vgg11": {"image": (64, 64, 3), "width": 0.125},
    "googlenet": {"image": (64, 64, 3)},
    "resnet18": {"image": (64, 64, 3)},
    "resnet20": {"image": (32, 32, 3)},
    "mobilenet_v1": {"image": (64, 64, 3), "width": 0.25},
    "mobilenet_v2": {"image": (64, 96, 3), "width": 0.5},
    "shufflenet_v1": {"image": (64, 64, 3)},
    "shufflenet_v2": {"image": (64, 64, 3)},
}
SMALL = {"image": (32, 32, 3), "width": 0.25}


def network(name, head="segmentation", **columns):
    return cnn_app.create_model(name, head=head, classes=3, **columns)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_tells_the_class_of_each_pixel(name):
    model = network(name, **BACKBONES[name])
    assert model.output_shape == (None, *BACKBONES[name]["image"][:2], 3)


@pytest.mark.slow
def test_what_each_decoder_looks_at():
    """MobileNetV2 has 320 channels at stride 32, before they widen; the deepest maps of 16, 8 and 4 have 96, 32, 24."""
    trunk = network("mobilenet_v2", "segmentation/fcn32s", image=(64, 64, 3)).count_params() - 3 * (320 + 1)
    counts = {form: network("mobilenet_v2", f"segmentation/{form}", image=(64, 64, 3)) for form in DECODERS}
    added = {"fcn32s": 0, "fcn16s": 97, "fcn8s": 97 + 33, "fcn4s": 97 + 33 + 25}
    for form, model in counts.items():
        assert model.count_params() == trunk + 3 * (320 + 1) + 3 * added[form], form
    held = network("mobilenet_v2", image=(64, 64, 3), output_stride=16)
    assert {layer.name for layer in held.layers if layer.name.startswith("head_")} == {
        "head_8_up", "head_8_score", "head_8_add", "head_up"}  # fmt: skip


def test_skips_start_at_zero():
    """So a new decoder says at first what the coarsest map says, enlarged."""
    model = network("mobilenet_v2", **SMALL)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    coarse = keras.Model(model.input, model.get_layer("logits").output)(pixels)
    wanted = coarse
    for side in (2, 4, 32):
        wanted = keras.ops.image.resize(wanted, (side, side), interpolation="bilinear")
    np.testing.assert_allclose(model(pixels), wanted, atol=1e-5)


def test_an_auxiliary_output_helps_while_training_only():
    """Of 96 channels at stride 16: 3x3 to 24, normalized, and a score for each class."""
    model, without = network("mobilenet_v2", "segmentation/fcn8s+aux", **SMALL), network("mobilenet_v2", **SMALL)
    channels = without.get_layer("head_16_score").input.shape[-1]
    assert channels == 24 and set(model.output) == {"logits", "aux"}
    assert {tuple(output.shape) for output in model.output.values()} == {(None, 32, 32, 3)}
    width = channels // 4
    assert model.count_params() - without.count_params() == 9 * channels * width + 4 * width + 3 * (width + 1)
    deployed = heads.named("segmentation").deployed(model)
    assert list(deployed.output) == ["probabilities"] and deployed.count_params() == without.count_params()
    task = tasks.named("segmentation")(input=Image((32, 32, 3)), labels=("a", "b", "c"), auxiliary=True)
    assert task.head == "segmentation/+aux"
    masks = np.random.default_rng(0).integers(0, 3, (2, 32, 32)).astype(np.uint8)
    logits = np.random.default_rng(1).normal(size=(2, 2, 32, 32, 3)).astype(np.float32)
    targets = {"mask": in_memory(masks)}
    loss = task.objective(Schedule(epochs=1), Split(["a", "b"], {}, targets))
    both = loss({"logits": logits[0], "aux": logits[1]}, {"mask": masks})
    alone = [loss(one, {"mask": masks}) for one in logits]
    np.testing.assert_allclose(both, alone[0] + 0.3 * np.asarray(alone[1]), rtol=1e-6)


def test_what_has_no_such_head_is_told():
    with pytest.raises(ModelError, match="decoder of its own; leave out decoder=fcn8s"):
        heads.build("unet", {"image": (572, 572, 1)}, "segmentation/fcn8s")
    with pytest.raises(UnknownName, match="fcn7s"):
        heads.build("mobilenet_v2", {}, "segmentation/fcn7s")
    with pytest.raises(ModelError, match="takes text"):
        heads.build("text_cnn", {}, "segmentation")


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("data") / "squares", 12, splits=("train", "val", "test"))


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "fcn"
    schedule = Schedule(epochs=30, batch=4, lr=0.01, augment=("flip",))
    columns = {"image": (32, 32, 3), "depths": (1, 1, 1)}
    options = {"name": "segmentation", "decoder": "fcn8s"}
    cnn_app.train("resnet20", str(squares), out, columns=columns, task=options, schedule=schedule)
    return out


@pytest.mark.slow
def test_it_learns_and_every_format_agrees(trained, squares):
    card = ModelDir(trained).read_card()
    assert card.options["decoder"] == "fcn8s" and card.metrics["test"]["mean_iou"] > 0.8
    found = cnn_app.export(
        trained, Export(targets=("saved_model", "tflite-float32", "tflite-int8", "onnx"), max_drop=5.0)
    )
    for result in found:
        assert result.agreement > (0.98 if result.target == "tflite-int8" else 0.9999), result
    for entry in ModelDir(trained).read_exports():
        assert golden.check(trained / entry["path"]).passed
        assert tasks.of(open_model(trained / entry["path"])) == tasks.of(open_model(trained))


@pytest.mark.slow
def test_fine_tuning_prefers_what_the_task_does(trained, squares, tmp_path):
    """Steps, not epochs: of 12 images in batches of 16 each step is an epoch."""

    def planned(**said):
        return finetune.prepare(str(trained), {}, str(squares), said or None, Transfer()).schedule

    task = tasks.named("segmentation")
    assert planned().epochs == task.tuning_steps and planned().lr == task.tuning["lr"]
    assert planned(epochs=3, lr=0.5).epochs == 3 and planned(epochs=3, lr=0.5).lr == 0.5
    assert planned(batch=4).epochs == -(-task.tuning_steps // 3)
    whole = finetune.prepare(str(trained), {}, str(squares), Schedule(epochs=2), Transfer()).schedule
    assert (whole.epochs, whole.batch) == (2, 32)


@pytest.mark.slow
def test_a_classifier_gives_its_trunk(squares, tmp_path):
    """Its head classified whole images; every other weight is copied."""
    columns = {"image": (32, 32, 3), "depths": (1, 1, 1)}
    cnn_app.train("resnet20", "shapes", tmp_path / "shapes", columns=columns,
                  schedule=Schedule(epochs=1, batch=64, augment=()))  # fmt: skip
    cnn_app.finetune("resnet20", str(squares), tmp_path / "masks", columns=columns,
                     task={"name": "segmentation"}, schedule={"epochs": 1, "batch": 4, "lr": 0.0},
                     transfer=Transfer(weights=str(tmp_path / "shapes")))  # fmt: skip
    before, after = (cnn_app.load_model(tmp_path / name) for name in ("shapes", "masks"))
    shared = [layer for layer in before.layers if layer.weights and layer.name != "logits"]
    assert len(shared) == 14
    for layer in shared:
        for one, other in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_published_weights_of_a_classifier_fit(tmp_path):
    """In keras.applications' naming: what widens the last maps and classifies whole images is left out."""
    theirs = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=7, alpha=0.35)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    model = cnn_app.create_model("mobilenet_v2", head="segmentation", classes=3, image=(64, 64, 3), width=0.35)
    assert cnn_app.transfer.load_weights(model, tmp_path / "theirs.weights.h5").new_head
    for ours, name in (("stem_conv", "Conv1"), ("stage7_unit1_project_conv", "block_16_project")):
        np.testing.assert_array_equal(model.get_layer(ours).get_weights()[0], theirs.get_layer(name).get_weights()[0])


@pytest.mark.slow
def test_the_command_takes_task_and_decoder(squares, tmp_path):
    result = invoked("train", "vgg11", "-c", "width=0.05", "--image", "32", "--data", squares, "-t",
                     "name=segmentation", "-t", "decoder=fcn16s", "-t", "loss=lovasz", "--epochs", "1", "--batch", "4",
                     "--out", tmp_path / "m")  # fmt: skip
    assert result.exit_code == 0 and "mean IoU" in result.stdout, result.output
    told = line("train", "mobilenet_v2", "--data", squares, "-t", "name=segmentation", "-t", "decoder=fcn2s", "--out",
                tmp_path / "n")  # fmt: skip
    assert "fcn2s" in told and "fcn4s" in told and not (tmp_path / "n").exists()
    help_text = CliRunner().invoke(cnn_app.cli.main.cli, ["finetune", "--help"]).stdout
    assert "15" in help_text
