"""Images through codes: layers and losses by hand, the bound against many draws, every door from data to a server."""

import io
import os
import signal
from pathlib import Path

import browsing
import keras
import numpy as np
import PIL.Image
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner
from keras import ops

import cnn_app
from cnn_app import tasks
from cnn_app.analysis.complexity import complexity
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import arrays
from cnn_app.errors import DataError, ModelError, RecipeError, TrainingError
from cnn_app.export import graph
from cnn_app.export.quantization import simulation
from cnn_app.heads import reconstruction as head
from cnn_app.inputs.image import Image
from cnn_app.jobs.predict import predict
from cnn_app.jobs.rehearsal import dry_run, memorise
from cnn_app.jobs.train import plan, run
from cnn_app.layers import GaussianDivergence, GaussianSampling
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.serving import Client
from cnn_app.tasks.reconstruction import Reconstruction
from cnn_app.tasks.reconstruction_report import report
from cnn_app.training import engine
from cnn_app.transfer.features import tapped

TASK = Reconstruction(input=Image((8, 8, 1)))
SMALL = {"image": (8, 8, 1), "code": 4, "channels": (8, 16)}
SCHEDULE = Schedule(epochs=2, batch=128, lr=3e-3, augment=("flip",))
NETWORKS = ("autoencoder", "vae")


# --- the networks


def test_counts_by_hand():
    """4x4 convolutions of 1-16-64 channels on 14x14 and 7x7 places, 32 numbers, and back."""
    maps = 7 * 7 * 64
    encoder, decoder = 16 * 16 + 16 + 16 * 16 * 64 + 64, 16 * 64 * 16 + 16 + 16 * 16 + 1
    weights = encoder + maps * 32 + 32 + 32 * maps + maps + decoder
    macs = 2 * (14 * 14 * 16 * 16 + 7 * 7 * 16 * 16 * 64 + 32 * maps)
    spread = maps * 32
    for name, more in (("autoencoder", 0), ("vae", 1)):
        counted = complexity(cnn_app.create_model(name))
        assert (counted.trainable, counted.macs) == (weights + more * (spread + 32), macs + more * spread)
        assert (counted.trainable, counted.macs) == REFERENCE[name][:2]


@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_that_halves_comes_out_again(name):
    model = cnn_app.create_model(name, image=(24, 40, 3), code=5, channels=(4, 6, 8))
    found = head.deployed(model)(np.zeros((2, 24, 40, 3), np.float32))
    assert found["reconstruction"].shape == (2, 24, 40, 3) and found["code"].shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "columns", "told"),
    [
        ("vae", {"image": (28, 30, 1)}, "multiples of 4, received 28x30x1"),
        ("vae", {"classes": 3}, "neither classes nor dropout, received classes=3"),
        ("vae", {"dropout": 0.5}, "neither classes nor dropout"),
        ("vae", {"code": 0}, "a code of one number or more"),
        ("vae", {"channels": ()}, "channels of at least one convolution"),
        ("vae", {"beta": -1.0}, "beta of at least 0"),
        ("autoencoder", {"beta": 4.0}, "where it is variational, received 4"),
    ],
)
def test_what_cannot_be_built_is_told(name, columns, told):
    with pytest.raises(ModelError, match=told):
        cnn_app.create_model(name, **columns)


@pytest.mark.parametrize(("network", "kind"), [("vae", "localization"), ("resnet20", "reconstruction")])
def test_other_heads_are_refused(network, kind):
    with pytest.raises(ModelError, match=r"(?s)no head for"):
        cnn_app.create_model(network, head=kind)


def test_draws_have_mean_and_deviation_and_stay_away_in_inference():
    layer = GaussianSampling(seed=3)
    mean, spread = np.full((20_000, 2), [1.0, -2.0], np.float32), np.full((20_000, 2), np.log([4.0, 0.25]), np.float32)
    drawn = np.asarray(layer([mean, spread], training=True))
    np.testing.assert_allclose(drawn.mean(0), [1, -2], atol=0.05)
    np.testing.assert_allclose(drawn.std(0), [2, 0.5], rtol=0.03)
    assert (np.asarray(layer([mean, spread])) == mean).all()
    again = GaussianSampling.from_config(layer.get_config())
    np.testing.assert_array_equal(np.asarray(again([mean, spread], training=True)), drawn)
    assert (np.asarray(layer([mean, spread], training=True)) != drawn).any()  # its state goes on


def test_the_divergence_is_the_integral_of_its_definition():
    mean, deviation = np.array([[0.7, -1.2]]), np.array([[0.5, 1.7]])
    z = np.linspace(-15, 15, 20_001)
    total = 0.0
    for m, s in zip(mean[0], deviation[0], strict=True):
        log_q = -0.5 * ((z - m) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi))
        log_p = -0.5 * z**2 - np.log(np.sqrt(2 * np.pi))
        total += np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
    layer = GaussianDivergence(4.0)
    found = GaussianDivergence.from_config(layer.get_config())([mean, 2 * np.log(deviation)])
    assert found.shape == (1,) and float(found[0]) == pytest.approx(4 * total, rel=1e-5)


# --- numbers by hand


def objective(loss=None, **schedule):
    return Reconstruction(input=TASK.input, loss=loss).objective(Schedule(**schedule), None)


def test_losses_by_hand():
    """Two pixels, 0.2 and 1; logits 0 and ln 3 are 0.5 and 0.75."""
    logits = ops.reshape(tf.constant([0.0, np.log(3.0)], tf.float32), (1, 1, 2, 1))
    targets = {"image": tf.constant([51, 255], tf.uint8)[None, None, :, None]}
    squared, nats = (0.3**2 + 0.25**2) / 2, np.log(2) - np.log(0.75)
    assert float(objective()({"logits": logits}, targets)[0]) == pytest.approx(squared)
    assert float(objective("mse")({"logits": logits}, targets)[0]) == pytest.approx(squared)
    assert float(objective("bce")({"logits": logits}, targets)[0]) == pytest.approx(nats)
    variational = {"logits": logits, "aux_kl": tf.constant([1.5])}
    assert float(objective()(variational, targets)[0]) == pytest.approx(nats + 1.5)
    assert float(TASK.step_metrics({"logits": logits}, targets)["mse"][0]) == pytest.approx(squared)
    with pytest.raises(ModelError, match="leave out loss=mse"):
        objective("mse")(variational, targets)
    for strange in ({"label_smoothing": 0.1}, {"class_weights": "balanced"}):
        with pytest.raises(TrainingError, match="have no classes"):
            objective(**strange)
    for option in ({"loss": "l1"}, {"binarization": "none"}):
        with pytest.raises(RecipeError, match=f"{[*option][0]}.*{[*option.values()][0]}"):
            Reconstruction(input=TASK.input, **option)


def test_a_report_by_hand():
    found = np.array([0.5, 0.75, 0.5, 0.5], np.float32).reshape(2, 1, 2, 1)
    pixels = np.array([51, 255, 0, 255], np.uint8).reshape(2, 1, 2, 1)
    nats = [np.log(2) - np.log(0.75), 2 * np.log(2)]
    mse = [(0.3**2 + 0.25**2) / 2, 0.25]
    plain = report([({"reconstruction": found}, pixels)], in_nats=True)
    assert plain.metrics == {"mse": pytest.approx(np.mean(mse)), "loss": pytest.approx(np.mean(nats)), "n": 2}
    drawn = {"drawn": np.zeros_like(found), "code": np.ones((2, 3)), "log_variance": np.zeros((2, 3))}
    metrics = report([({"reconstruction": found} | drawn, pixels)], in_nats=False).metrics
    assert metrics["kl"] == pytest.approx(1.5) and metrics["reconstruction"] == pytest.approx(2 * np.log(2))
    assert metrics["elbo"] == -metrics["loss"] == pytest.approx(-1.5 - 2 * np.log(2))
    with pytest.raises(ModelError, match="cnn-app reconstruct"):
        plain.mistakes(3)


def test_drops_are_percent_of_the_error_and_agreement_is_of_pixels():
    assert tasks.drop(TASK, {"mse": 0.02, "loss": 1.0}, {"mse": 0.0205, "loss": 1.0}) == pytest.approx(2.5)
    assert tasks.told_drop(TASK, 2.5) == "has 2.50 % more of squared error"
    wanted = {"reconstruction": np.zeros((4, 2, 2, 1))}
    found = {"reconstruction": np.zeros((4, 2, 2, 1))}
    found["reconstruction"][:, 1, 1, 0] = 0, 0.09, 0.11, 0.9
    assert TASK.agreement(found, wanted) == 0.5


def test_the_bound_is_that_of_many_draws_and_repeatable():
    """Losses that the network has in training, with a draw of its own each time, have the bound as their mean."""
    model = cnn_app.create_model("vae", **SMALL)
    pixels = np.random.default_rng(0).integers(0, 256, (512, 8, 8, 1)).astype(np.uint8)
    kernel, bias = model.get_layer("log_variance").get_weights()
    model.get_layer("log_variance").set_weights([kernel, bias + 1.0])
    runtime = TASK.measured(KerasRuntime(head.deployed(model)))
    batches = [({"image": pixels[i : i + 64]}, {"image": pixels[i : i + 64]}) for i in range(0, 512, 64)]
    metrics, again = (TASK.measure((runtime.run(taken), targets) for taken, targets in batches).metrics
                      for _ in range(2))  # fmt: skip
    assert metrics == again
    loss = objective()
    losses = np.stack([loss(model(pixels, training=True), {"image": pixels}) for _ in range(20)])
    at_mean = float(np.mean(loss(model(pixels), {"image": pixels})))
    error = losses.std(0).mean() / np.sqrt(512)
    assert metrics["loss"] == pytest.approx(losses.mean(), abs=4 * error)
    assert losses.mean() - at_mean > 6 * error  # the image of the mean alone would flatter it


# --- data


def folder(place, *names):
    for number, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("L", (9, 9), number * 20).save(place / name)
    return place


NAMES = [f"{label}/{number}.png" for label in ("cats", "dogs") for number in range(5)]


@pytest.mark.parametrize(
    "names", [[f"{number}.png" for number in range(10)], NAMES, [*NAMES[:5], *"ab.png c.png".split()]]
)
def test_any_folder_of_images_will_do(tmp_path, names):
    found = TASK.load(Data(source=str(folder(tmp_path, *names))))
    assert sorted(name for split in found.splits.values() for name in split.names) == sorted(names)
    assert found.labels == () and min(found.counts().values()) > 0
    for split in found.splits.values():
        assert split.targets["image"] is split.inputs["image"]


def test_splits_of_folders_and_of_tables(tmp_path):
    names = [f"{split}/{name}.png" for split in ("train", "val", "test") for name in "ab"]
    place = folder(tmp_path / "own", *names)
    assert TASK.load(Data(source=str(place))).counts() == {"train": 2, "val": 2, "test": 2}
    table = "".join(f"{name},{'val' if name.endswith('b.png') else 'train'}\n" for name in names)
    (place / "splits.csv").write_text(f"file,split\n{table}")
    assert TASK.load(Data(source=str(place))).counts() == {"train": 3, "val": 3, "test": 3}
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no images for train; add some"):
        TASK.load(Data(source=str(tmp_path / "empty")))


def test_named_sources_and_arrays_lose_their_targets():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    for data in (arrays({"train": images}), arrays({"train": (images, np.arange(20) % 2)}, ("a", "b"))):
        found = TASK.load(data)
        assert set(found.splits["train"].targets) == {"image"} and found.labels == ()
    assert TASK.load(Data(source="digits")).counts() == {"train": 1258, "val": 269, "test": 270}
    with pytest.raises(DataError, match="image is needed"):
        TASK.load(arrays({"train": np.array([b"a"] * 9)}, input="tokens"))


def test_what_is_changed_is_what_is_to_come_out():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1)).astype(np.uint8))
    inputs, targets = TASK.augmented({"image": images}, {"image": images}, (0, 1), ("flip", "crop"))
    assert (inputs["image"].numpy() == targets["image"].numpy()).all()
    assert (inputs["image"].numpy() != images.numpy()).any()


# --- the chain


def job(name, schedule=SCHEDULE):
    return plan(name, SMALL, "digits", schedule)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "vae")
    run(job("vae"), directory)
    return directory


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, vae, tmp_path_factory):
    if request.param == "vae":
        return vae
    directory = ModelDir(tmp_path_factory.mktemp("store") / "autoencoder")
    run(job("autoencoder"), directory)
    return directory


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_result(vae, tmp_path):
    """The generator of draws is part of the state."""
    directory = ModelDir(tmp_path / vae.name)

    def stop(epoch, done, steps, logs):
        if epoch == 0 and done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="after step 5"):
        run(job(vae.name), directory, watch=engine.Watch(step=stop))
    run(job(vae.name), directory, resume=True)
    for ours, theirs in zip(*(cnn_app.load_model(one.path).get_weights() for one in (directory, vae)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert directory.history.read_text() == vae.history.read_text()
    assert directory.read_card().metrics == vae.read_card().metrics


def test_a_card_has_no_labels_and_the_metrics_of_its_network(trained):
    card = trained.read_card()
    assert card.labels == () and card.task == "reconstruction"
    assert card.options == {"loss": None, "binarization": "stochastic"}
    measured = cnn_app.evaluate(trained.path, "digits").report.metrics
    assert measured == pytest.approx(card.metrics["test"], rel=1e-6)
    assert ("elbo" in measured) == (trained.name == "vae") and measured["mse"] < 0.2
    if trained.name == "vae":
        assert measured["elbo"] == pytest.approx(-measured["reconstruction"] - measured["kl"])


@pytest.fixture(scope="module")
def files(vae, tmp_path_factory):
    """Files of the network by target, in a model directory of their own."""
    task, model = tasks.of_card(vae.read_card()), cnn_app.load_model(vae.path)
    base = tmp_path_factory.mktemp("files")
    return {kind: served.export(task, model, base / kind, kind) for kind in ("saved_model", "tflite-float32", "onnx")}


def test_files_give_the_same_images_and_draw_nothing(vae, files):
    wanted = cnn_app.evaluate(vae.path, "digits").report.metrics
    for file in files.values():
        found = cnn_app.evaluate(file, "digits").report.metrics
        assert set(found) == {"mse", "loss", "n"} and found["mse"] == pytest.approx(wanted["mse"], rel=1e-4)
    both = cnn_app.evaluate([vae.path, files["onnx"]], "digits")
    assert both.ensemble.metrics["mse"] == pytest.approx(wanted["mse"], rel=1e-4)


@pytest.mark.parametrize(("name", "layer"), [("autoencoder", "decoder_up2"), ("unet", "up4_up")])
def test_what_rounds_like_no_simulation_is_told(name, layer):
    """A transposed convolution is no activation, though it may have one, and too much to be left in float."""
    small = {"width": 2, "padding": "same", "image": (64, 64, 3)} if name == "unet" else {}
    model = graph.deployable(cnn_app.create_model(name, **small))
    plain = simulation.folded(model)
    assert simulation.obstacle(plain).startswith(layer) and plain.count_params() == model.count_params()


@pytest.mark.slow
def test_export_proves_every_file(trained):
    targets = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "onnx")
    for result in cnn_app.export(trained.path, targets, "digits"):
        limit = 1.0 if result.target == "tflite-int8" else 0.1
        assert result.metric == "mse" and result.drop < limit and result.agreement > 0.98, result


def test_encoder_and_decoder_are_signatures_of_their_own(vae, files):
    signatures = tf.saved_model.load(str(files["saved_model"])).signatures
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    whole = signatures["serving_default"](image=tf.constant(pixels))
    code = signatures["encode"](image=tf.constant(pixels))
    assert set(code) == {"code"}
    np.testing.assert_allclose(code["code"], whole["code"], atol=1e-5)
    np.testing.assert_allclose(signatures["features"](image=tf.constant(pixels))["features"], whole["code"], atol=1e-5)
    found = signatures["decode"](code=whole["code"])
    assert set(found) == {"reconstruction"}
    np.testing.assert_allclose(found["reconstruction"], whole["reconstruction"], atol=1e-5)
    model = cnn_app.load_model(vae.path)
    np.testing.assert_allclose(tapped(model)(pixels.astype("float32")), whole["code"], atol=1e-5)


def test_servers_answer_with_a_picture_and_a_code(vae, files):
    (wanted,) = predict(vae.path, served_image())
    with served.running(*(f"{name}={file}" for name, file in files.items())) as server:
        for name in files:
            for address in (server.rest, server.grpc):
                with Client(f"{address}/{name}") as client:
                    (answer,) = client.each([png()], client.encoded)
                np.testing.assert_allclose(answer.told()["code"], wanted.answer["code"], atol=1e-4)
                assert answer.text().startswith("code ")
                picture = pixels_of(answer.outputs["reconstruction_bytes"].item())
                np.testing.assert_allclose(picture / 255, wanted.outputs["reconstruction"][..., 0], atol=0.51 / 255)


def png():
    return served.png(np.random.default_rng(5).integers(0, 256, (8, 8)).astype(np.uint8))


def served_image():
    return pixels_of(png())[None, ..., None]


def pixels_of(data):
    with PIL.Image.open(io.BytesIO(data)) as found:
        return np.asarray(found)


def test_commands_draw_what_is_decoded(trained, tmp_path):
    (tmp_path / "it.png").write_bytes(png())
    arguments = ["predict", trained.path, tmp_path / "it.png", "--draw", tmp_path / "drawn"]
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0 and "it.png: code " in result.output, result.output
    assert pixels_of((tmp_path / "drawn" / "it.png").read_bytes()).shape[:2] == (420, 720)
    images = [str(tmp_path / "it.png")] * 2
    arguments = ["reconstruct", str(trained.path), "--out", str(tmp_path / "sheets"), "--n", "4", "--between", *images]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    names = ["reconstructions.png", "interpolation.png", *["samples.png"] * (trained.name == "vae")]
    assert result.stdout.split() == [str(tmp_path / "sheets" / name) for name in names]
    for name in names:
        assert pixels_of((tmp_path / "sheets" / name).read_bytes())[..., :3].std() > 20  # not blank
    result = CliRunner().invoke(cli, ["evaluate", str(trained.path), "--data", "digits", "--confusion",
                                      str(tmp_path / "errors.png")])  # fmt: skip
    assert result.exit_code == 0 and "squared error" in result.output and (tmp_path / "errors.png").is_file()


@browsing.needs_chromium
def test_the_page_shows_the_reconstruction(files, browser):
    with served.running(files["saved_model"]) as found:
        browsing.visit(browser, found.rest)
        browsing.give(browser, png())
        over = browsing.find(browser, "#mask")
        browsing.wait(browser, over.is_displayed)
        assert over.get_attribute("src").startswith("data:image/png") and "its code" in over.get_attribute("alt")


def test_codes_are_features_and_data_are_shown(vae, tmp_path):
    (tmp_path / "it.png").write_bytes(png())
    map_, sheet = str(tmp_path / "map.png"), str(tmp_path / "sheet.png")
    found = CliRunner().invoke(cli, ["features", str(vae.path), "--data", "digits", "--project", map_, "--projection",
                                     "pca", "--nearest", str(tmp_path / "it.png"), "--sheet", sheet])  # fmt: skip
    assert found.exit_code == 0 and "4 activations each" in found.stdout, found.output
    blue = pixels_of(Path(map_).read_bytes())[..., :3].astype(int) - (31, 119, 180)  # the points' colour, C0
    assert (np.abs(blue).sum(-1) < 60).sum() > 100
    shown = CliRunner().invoke(cli, ["data", "show", "digits", "--model", "vae", "--image", "8x8x1", "--n", "4",
                                     "--out", sheet])  # fmt: skip
    assert shown.exit_code == 0, shown.output


def test_a_classifier_decodes_nothing(colours, tmp_path):
    task, model = served.text_cnn()
    served.export(task, model, tmp_path / "it")
    result = CliRunner().invoke(cli, ["reconstruct", str(tmp_path / "it"), "--data", "digits", "--out", str(tmp_path)])
    assert result.exit_code == 1 and result.output.count("\n") == 1


@pytest.mark.slow
def test_a_batch_can_be_memorised_and_a_run_looked_at(monkeypatch):
    small = job("autoencoder", Schedule(batch=8, lr=5e-3, augment=()))
    assert dry_run(small)["classes"] == 0
    assert memorise(small)["mse"] < TASK.memorised
    monkeypatch.setattr(engine, "OVERFIT_STEPS", 2)
    with pytest.raises(TrainingError, match="did not memorise 8 images in 2 steps: squared error 0.[0-9]"):
        memorise(job("autoencoder", Schedule(batch=8, lr=1e-9, augment=())))


def test_reloaded_models_draw_and_decode_as_before(trained):
    model = cnn_app.load_model(trained.path)
    parts = head.parts(head.deployed(model))
    pixels = served_image().astype("float32")
    found = parts["decode"](parts["encode"](pixels)["code"])["reconstruction"]
    np.testing.assert_allclose(found, keras.ops.sigmoid(model(pixels)["logits"]), atol=1e-6)
    assert head.is_variational(model) == (trained.name == "vae")
