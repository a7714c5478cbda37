"""Sounds: what WAV holds, log-mel in the graph against NumPy's FFT, and the chain from files to a phone."""

import io
import json
import wave

import browsing
import click.testing
import keras
import numpy as np
import pytest
import scipy.fft
import scipy.io.wavfile
import scipy.signal
import served
import tensorflow as tf

import cnn_app
from cnn_app import data, inputs, registry, tasks
from cnn_app.analysis.complexity import complexity
from cnn_app.architectures import tdnn
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.errors import DataError, ModelError, TrainingError
from cnn_app.export import run as exporting
from cnn_app.export import tflite
from cnn_app.inputs import wave_files, waves
from cnn_app.inputs.audio import Audio
from cnn_app.layers import Cepstrum, LogMel, MinusMean, StatisticsPooling
from cnn_app.layers.spectra import FLOOR, mel_matrix
from cnn_app.recipe import Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.latency import Speed
from cnn_app.serving.server import engines, warmup

RATE = 4000
SMALL = {"rate": RATE, "samples": 2000, "bands": 12, "maps": (8, 8), "taps": (5, 3), "dilations": (1, 2)}
TONES = {"falling": (1200, 300), "flat": (600, 600), "rising": (300, 1200)}  # Hz, from and to


def noise(n, seed=0, scale=0.3):
    return np.clip(np.random.default_rng(seed).normal(0, scale, n), -1, 1).astype(np.float32)


def written(values, rate=RATE):
    out = io.BytesIO()
    scipy.io.wavfile.write(out, rate, values)
    return out.getvalue()


def of_bits(values, bits, channels=1, rate=RATE):
    """PCM by Python's own module; values are the bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(values)
    return out.getvalue()


# --- files


@pytest.mark.parametrize(("kind", "scale", "middle"), [
    ("u1", 128, 128), ("<i2", 2**15, 0), ("<i4", 2**31, 0), ("<f4", 1, 0), ("<f8", 1, 0),
])  # fmt: skip
def test_what_scipy_writes_is_read(kind, scale, middle):
    """Of two channels the mean; scipy writes floats, and more than two channels, in the extensible form."""
    values = (noise(300).reshape(100, 3) * (scale if scale == 1 else scale - 1) + middle).astype(kind)
    found, rate = wave_files.mono(written(values, 11025))
    np.testing.assert_allclose(found, ((values.astype(np.float64) - middle) / scale).mean(1), atol=1e-6)
    assert rate == 11025 and found.dtype == np.float32 and found.shape == (100,)


def test_24_bits_by_hand():
    low, high, one = b"\x00\x00\x80", b"\xff\xff\x7f", b"\x01\x00\x00"
    found, _ = wave_files.mono(of_bits(low + high + one + b"\x00\x00\x40", 24))
    np.testing.assert_allclose(found, [-1, 1 - 2**-23, 2**-23, 0.5], rtol=1e-6)
    stereo, _ = wave_files.mono(of_bits(low + high, 24, channels=2))
    np.testing.assert_allclose(stereo, [-(2**-24)], atol=1e-7)


def test_of_a_stream_whose_length_nobody_knew_all_is_read():
    whole = written((noise(50) * 2**15).astype("<i2"))
    place = whole.index(b"data") + 4
    found, _ = wave_files.mono(whole[:place] + b"\xff" * 4 + whole[place + 4 :])
    np.testing.assert_array_equal(found, wave_files.mono(whole)[0])


GOOD = written((noise(50) * 2**15).astype("<i2"))
FORMAT = GOOD.index(b"fmt ") + 8
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"this is no wave", "it is no WAV"),
    "flac": (b"fLaC" + b"\0" * 100, "it is no WAV"),
    "cut off": (GOOD[:-10], "it is cut off: 90 of 100 bytes of samples are there"),
    "a header alone": (GOOD[:30], "it is cut off: it has no samples"),
    "a name alone": (GOOD[:12], "it is cut off: it has no format"),
    "no samples": (written(np.zeros(0, "<i2")), "it has no samples"),
    "mu-law": (GOOD[:FORMAT] + b"\x07\x00" + GOOD[FORMAT + 2 :], "it has the format 0x0007 of 16 bits; PCM of"),
    "12 bits": (GOOD[: FORMAT + 14] + b"\x0c\x00" + GOOD[FORMAT + 16 :], "0x0001 of 12 bits"),
    "no channels": (GOOD[: FORMAT + 2] + b"\0\0" + GOOD[FORMAT + 4 :], "it has 0 channels in blocks of 2"),
    "no rate": (GOOD[: FORMAT + 4] + b"\0" * 4 + GOOD[FORMAT + 8 :], "0 samples a second; from 1,000 to 192,000"),
    "data first": (GOOD[:12] + GOOD[GOOD.index(b"data") :], "its samples stand in front of their format"),
    "chunks": (GOOD[:12] + b"junk\0\0\0\0" * 2000, "more than 1,000 chunks"),
    "not finite": (written(np.array([0, np.nan], "<f4")), "samples that are no finite numbers"),
    "too long": (of_bits(bytes(3_700_000), 8, rate=1000), "it lasts 3,700 seconds; more than 3,600 are refused"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_wave_is_told_in_a_line(name):
    found, told = BAD[name]
    with pytest.raises(DataError) as error:
        Audio(RATE, 100).load(found, "it.wav")
    assert str(error.value).startswith("cannot read it.wav: ") and told in str(error.value)
    assert "\n" not in str(error.value)


def test_memory_is_told_by_the_header():
    assert Audio.decoded_bytes(of_bits(bytes(400), 16, channels=2), 0) == 100 * (2 * 8 + 8)


# --- lengths and rates


@pytest.mark.parametrize("rate", [3000, 4000, 44101])
def test_the_graph_decodes_and_resamples_as_files_are(rate):
    """scipy's polyphase filter is the oracle; 44101 has no common divisor with 4000."""
    stereo = (noise(2 * rate).reshape(-1, 2) * 2**15).astype("<i2")
    for samples in (1500, 6000):
        taken = Audio(RATE, samples)
        wanted = taken.decoder()(written(stereo, rate))["audio"]
        graph = tf.function(lambda encoded, samples=samples: waves.decoded(encoded, RATE, samples))
        found = graph(tf.constant(written(stereo, rate)))
        assert found.shape == (samples,) and np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        (_, convert), *_ = taken.converters().values()
        np.testing.assert_array_equal(tf.function(convert)(tf.constant(written(stereo, rate))), wanted)


def test_windows_of_a_long_wave():
    taken = Audio(RATE, 100)
    long = np.round(noise(250) * 2**15) / 2**15
    found = taken.parts(wave_files.encoded(long, RATE), "it")["audio"]
    np.testing.assert_array_equal(found, [long[:100], long[100:200], long[150:]])
    short = taken.parts(wave_files.encoded(long[:30], RATE), "it")["audio"]
    np.testing.assert_array_equal(short, [np.pad(long[:30], (0, 70))])
    assert taken.parts(wave_files.encoded(long[:100], RATE), "it")["audio"].shape == (1, 100)
    assert inputs.of_facts(taken.facts()) == taken
    with pytest.raises(ValueError, match="have no length"):
        Audio.of_facts({"rate": 8000, "samples": 0})


# --- spectra


@pytest.mark.parametrize(("frame", "hop"), [(200, 80), (256, 120), (101, 50)])
def test_log_mel_is_that_of_a_fast_fourier_transform(frame, hop):
    given = noise(2 * 4000).reshape(2, 4000)
    layer = LogMel(8000, frame, hop, 20)
    found = np.asarray(layer(given))
    frames = 1 + (4000 - frame) // hop
    assert found.shape == (2, frames, 1, 20) == layer.compute_output_shape((2, 4000))
    window = scipy.signal.get_window("hann", frame)
    pieces = np.stack([given[:, i * hop : i * hop + frame] for i in range(frames)], 1)
    points = 128 if frame == 101 else 256
    power = np.abs(np.fft.rfft(pieces * window / (window.sum() / 2), points)) ** 2
    triangles = tf.signal.linear_to_mel_weight_matrix(20, points // 2 + 1, 8000, 20.0, 4000.0).numpy()
    np.testing.assert_allclose(mel_matrix(8000, points, 20, 20, 4000), triangles, atol=2e-5)
    np.testing.assert_allclose(found[:, :, 0], 1 + 2 * np.log(power @ triangles + FLOOR) / -np.log(FLOOR), atol=5e-5)
    assert LogMel.from_config(layer.get_config()).get_config() == layer.get_config()


def test_levels_by_hand():
    """A sine at full scale is 1 in its band, one of a tenth 20 dB of 80 below it; silence is -1."""
    bands = mel_matrix(8000, 256, 20, 20, 4000)
    place = int(np.argmax(bands[:, 12]))
    sine = np.sin(2 * np.pi * place * 8000 / 256 * np.arange(800) / 8000).astype(np.float32)
    found = np.asarray(LogMel(8000, 256, 80, 20)(np.stack([sine, sine / 10, 0 * sine])))[:, :, 0]
    neighbours = bands[place, 12] + (bands[place - 1, 12] + bands[place + 1, 12]) / 4  # of a Hann window: a half each
    wanted = 1 + 2 * np.log(neighbours) / -np.log(FLOOR)
    np.testing.assert_allclose(found[0, :, 12], wanted, atol=1e-3)
    np.testing.assert_allclose(found[1, :, 12], wanted - 2 * 20 / 80, atol=1e-3)
    assert (found[0].argmax(-1) == 12).all() and (found[2] == -1).all()


def test_cepstrum_and_statistics_against_their_peers():
    x = noise(2 * 7 * 20).reshape(2, 7, 1, 20)
    np.testing.assert_allclose(Cepstrum(13)(x), scipy.fft.dct(x, norm="ortho")[..., :13], atol=1e-5)
    np.testing.assert_allclose(MinusMean()(x), x - x.mean(1, keepdims=True), atol=1e-6)
    found = np.asarray(StatisticsPooling()(x))
    np.testing.assert_allclose(found, np.concatenate([x.mean((1, 2)), x.std((1, 2))], 1), atol=1e-3)


# --- networks


def test_counts_by_hand():
    """Waibel et al. tell 6,233 connections, Snyder et al. 4.2 million parameters up to the embedding."""
    first = cnn_app.create_model("tdnn_1989")
    assert first.get_layer("log_mel").output.shape == (None, 15, 1, 16)
    assert first.count_params() == (3 * 16 * 8 + 8) + (5 * 8 * 3 + 3) + (3 * 3 + 3) == 527
    places = [first.get_layer(f"delay{n}_conv").output.shape[1] for n in (1, 2)]
    assert places[0] * 8 * (3 * 16 + 1) + places[1] * 3 * (5 * 8 + 1) + 3 * (places[1] + 1) == 6_233

    x = cnn_app.create_model("tdnn_xvector")
    weights = {layer.name: sum(int(np.prod(w.shape)) for w in layer.weights) for layer in x.layers}
    biases = {"delay1": 512, "delay2": 512, "delay3": 512, "delay4": 512, "delay5": 1500, "segment1": 512}
    kinds = dict.fromkeys(biases, "conv") | {"segment1": "dense"}
    assert sum(weights[f"{name}_{kinds[name]}"] + bias for name, bias in biases.items()) == 4_204_508
    assert 4_204_508 == (120 + 1) * 512 + 2 * (3 * 512 + 1) * 512 + 513 * 512 + 513 * 1500 + 3001 * 512

    kernels = 5 * 40 * 128 + 3 * (2 * 128 * 128) + 128 * 128
    counted = complexity(cnn_app.create_model("tdnn"))
    assert counted.trainable == kernels + 5 * 2 * 128 + 128 * 10 + 10 == 142_858
    assert counted.macs == 94 * 200 * 128 + 128 * (91 + 85 + 76) * 256 + 76 * 128 * 128 + 1280
    for name in registry.names("tdnn*"):
        counted = complexity(cnn_app.create_model(name))
        assert (counted.trainable, counted.macs) == REFERENCE[name][:2]


def test_forward_pass_by_hand_save_and_reload(tmp_path):
    """A frame sees itself and those at its delays: of the second layer {-2, 0, 2}, of the first {-2..2}."""
    columns = SMALL | {"cepstra": 6, "batch_norm": False, "pooling": "statistics", "segments": (5,), "classes": 3}
    model = cnn_app.create_model("tdnn", **columns)
    given = noise(2 * 2000).reshape(2, 2000)
    seen = keras.Model(model.input, model.get_layer("cepstrum").output)(given).numpy()[:, :, 0]
    seen = seen - seen.mean(1, keepdims=True)
    for name, taps, dilation in (("delay1", 5, 1), ("delay2", 3, 2)):
        kernel, bias = model.get_layer(f"{name}_conv").get_weights()
        last = seen.shape[1] - (taps - 1) * dilation
        delayed = (seen[:, t * dilation : t * dilation + last] @ kernel[t, 0] for t in range(taps))
        seen = np.maximum(0, sum(delayed) + bias)
    x = np.concatenate([seen.mean(1), np.sqrt(seen.var(1) + 1e-5)], 1)
    kernel, bias = model.get_layer("segment1_dense").get_weights()
    x = np.maximum(0, x @ kernel + bias)
    kernel, bias = model.get_layer("logits").get_weights()
    logits = model.predict_on_batch(given)
    np.testing.assert_allclose(logits, x @ kernel + bias, atol=1e-4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras").predict_on_batch(given), logits)
    assert "minus_mean" not in [layer.name for layer in cnn_app.create_model("tdnn", minus_mean=False).layers]
    taps = tdnn.features(registry.spec("tdnn", **columns), keras.Input((2000,)))
    assert [*taps] == ["bands", "delay1", "delay2", "pool", "segment1"] and taps["pool"].shape == (None, 16)


@pytest.mark.parametrize(("columns", "told"), [
    ({"maps": (8,)}, r"for each layer, received \[8\], \[5, 2, 2, 2, 1\]"),
    ({"maps": (), "taps": (), "dilations": ()}, r"for each layer, received \[\]"),
    ({"dilations": (0, 1, 1, 1, 1)}, "one or more for each layer"),
    ({"pooling": "max"}, "pooling average or statistics, received 'relu' and 'max'"),
    ({"rate": 0}, "a rate from 1000 to 192000"),
    ({"bands": 120}, "a band without a frequency at frames of 25 ms, received 120 bands"),
    ({"cepstra": 41}, "at most as many cepstra as bands, 40, received 41"),
    ({"samples": 1000}, "sees 23 frames, which are 1960 samples; received samples 1000"),
    ({"samples": 8001}, "samples in multiples of 40"),
    ({"classes": 0}, "at least one class"),
])  # fmt: skip
def test_what_cannot_be_built_is_told(columns, told):
    with pytest.raises(ModelError, match=told):
        cnn_app.create_model("tdnn", **columns)


# --- augmentation


def test_noise_and_shift_are_drawn_for_each_wave():
    taken = Audio(RATE, 1000)
    quiet = np.zeros((8, 1000), np.float32)
    quiet[:, 400:600] = noise(200) * np.array([[0.1], [1.0]] * 4)
    same = [taken.augmented({"audio": quiet}, (3, 5), ("noise",))["audio"].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*same)
    below = -10 * np.log10(np.mean((same[0] - quiet) ** 2, 1) / np.mean(quiet**2, 1))
    assert 9.5 < below.min() < below.max() < 40.5 and np.ptp(below) > 5
    moved = taken.augmented({"audio": quiet}, (3, 5), ("shift",))["audio"].numpy()
    starts = np.argmax(moved != 0, 1) - np.argmax(quiet != 0, 1)
    assert np.abs(starts).max() <= 100 and len(set(starts)) > 4
    for one, start, whole in zip(moved, starts, quiet, strict=True):
        np.testing.assert_array_equal(one, np.roll(whole, start))
    other = taken.augmented({"audio": quiet}, (3, 6), ("shift",))["audio"].numpy()
    assert (other != moved).any() and taken.augmented({"audio": quiet}, (3, 5), ())["audio"] is not None
    edge = waves.shifted(tf.ones((16, 100)), tf.constant([1, 2], tf.int64)).numpy()
    assert set(np.unique(edge)) == {0, 1} and edge.sum(1).min() >= 90  # zeros come in


# --- the chain


def tone(label, seed):
    """Half a second or less of a tone with noise."""
    random = np.random.default_rng([seed, *label.encode()])
    time = np.arange(random.integers(1200, 2000)) / RATE
    hz = np.linspace(*TONES[label], len(time)) * random.uniform(0.9, 1.1)
    values = random.uniform(0.2, 0.9) * np.sin(2 * np.pi * np.cumsum(hz) / RATE) + random.normal(0, 0.02, len(time))
    return np.clip(values, -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A folder for each class of links into another folder, and a splits.csv."""
    root, files = tmp_path_factory.mktemp("tones"), tmp_path_factory.mktemp("files")
    lines = ["file,split"]
    for label in TONES:
        (root / label).mkdir()
        for seed in range(24):
            file = files / f"{label}-{seed}.wav"
            file.write_bytes(wave_files.encoded(tone(label, seed), RATE))
            (root / label / f"{seed}.wav").symlink_to(file)
            lines.append(f"{label}/{seed}.wav,{'test' if seed < 5 else 'val' if seed < 8 else 'train'}")
    (root / "splits.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory):
    directory = tmp_path_factory.mktemp("store") / "tones"
    schedule = Schedule(epochs=15, batch=16, lr=0.02, augment=("shift", "noise"))
    cnn_app.train("tdnn", str(tones), directory, columns=SMALL, schedule=schedule)
    return directory


@pytest.fixture(scope="module")
def exported(trained, tones):
    targets = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "timed", lambda path: Speed(str(path), 1, 0.0, 0.0, 0.0))  # processes of their own
        found = cnn_app.export(trained, targets, str(tones))
    return {one.target: one for one in found}, trained


@pytest.mark.slow
def test_it_learns_and_its_card_tells_of_waves(trained, tones):
    card = ModelDir(trained).read_card()
    assert card.metrics["test"]["top1"] == 1.0 and card.metrics["test"]["n"] == 15
    assert card.input == {"kind": "audio", "rate": RATE, "samples": 2000} and card.labels == tuple(TONES)
    assert list(card.recipe["augment"]) == ["shift", "noise"] and card.data["split"] == {"rule": "file"}
    assert cnn_app.evaluate(trained, str(tones)).report.top1 == 1.0


def test_every_file_says_what_keras_says(exported):
    found, _ = exported
    assert {name: one.drop for name, one in found.items()} == dict.fromkeys(found, 0)
    assert {name: one.agreement for name, one in found.items()} == dict.fromkeys(found, 1)
    assert max(found[name].max_difference for name in ("saved_model", "tflite-float32", "onnx")) < 1e-4
    assert found["tflite-int8"].strategy == "48 waves" and found["tflite-int8"].max_difference < 0.1


@browsing.needs_chromium
@pytest.mark.slow
def test_the_page_takes_waves(exported, browser):
    """They can be heard; an image is no question to such a model."""
    _, directory = exported
    with served.running(directory / "serving") as found:
        browsing.visit(browser, found.rest)
        assert browsing.find(browser, "#status").text == "No wave yet."
        assert "Drop or paste waves here" in browsing.find(browser, "#drop").text
        assert browsing.find(browser, "#file").get_attribute("accept") == ".wav"
        assert not browsing.find(browser, "#drawing").is_displayed()
        for label in TONES:
            data = wave_files.encoded(tone(label, 99), RATE)
            browsing.give(browser, data, name=f"{label}.wav", kind="audio/wav")
            browsing.answered(browser, label)
        assert browsing.find(browser, "#heard").is_displayed() and not browsing.find(browser, "#shown").is_displayed()
        browsing.wait(browser, lambda: browser.execute_script("return document.getElementById('heard').duration > 0"))
        browsing.give(browser, b"RIFF, no wave", name="bad.wav", kind="audio/wav")
        browsing.wait(browser, lambda: "WAV" in browsing.find(browser, "#error").text)


def test_an_int8_file_takes_floats_and_keeps_its_front_in_float(exported):
    from ai_edge_litert.tools import flatbuffer_utils as utils

    _, directory = exported
    file = directory / "mobile" / f"{directory.name}-int8.tflite"
    assert {name: str(spec) for name, spec in open_model(file).inputs.items()} == {"audio": "float32 (n, 2000)"}
    model = utils.read_model(str(file))
    graph, kinds = model.subgraphs[0], utils.schema_fb.TensorType
    types = {tensor.name.decode(): tensor.type for tensor in graph.tensors}
    front = [kind for name, kind in types.items() if "log_mel" in name and name.split("/")[1].startswith("log_mel")]
    assert len(front) > 4 and set(front) <= {kinds.FLOAT32, kinds.INT32}
    assert any(kind == kinds.INT8 for name, kind in types.items() if "delay2_conv" in name)
    assert open_model(file).coverage() == (1, {})


def test_the_saved_model_takes_wav(exported, tones):
    """Of another rate, and of two channels; what its operators are is looked at before it is loaded."""
    _, directory = exported
    task = tasks.of(open_model(directory))
    stereo = np.stack([tone("rising", 99), tone("rising", 99)], 1)
    several = [
        wave_files.encoded(tone("falling", 98), RATE),
        written((stereo * 32767).astype("<i2")),
        written((wave_files.at_rate(tone("flat", 97), RATE, 11025) * 32767).astype("<i2"), 11025),
    ]
    place = directory / "serving" / "1"
    signatures = tf.saved_model.load(str(place)).signatures
    assert set(signatures) == {"serving_default", "audio_bytes", "features"}
    found = signatures["audio_bytes"](audio_bytes=tf.constant(several))
    taken = np.stack([task.input.load(one, "it")["audio"] for one in several])
    wanted = open_model(directory).run({"audio": taken})["probabilities"]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)
    assert [row[0].decode() for row in found["classes"].numpy()] == ["falling", "rising", "flat"]
    for file in (place, directory / "mobile" / f"{directory.name}-float32.tflite"):
        engine = engines.open_engine(file)
        warmup.warm(engine, file)
        told = engine.run("audio_bytes", {"audio_bytes": np.array(several, object)})
        np.testing.assert_allclose(told["probabilities"], wanted, atol=1e-4)
        engine.close()


def test_answers_to_files(exported, tmp_path):
    """Of a long wave the mean of its windows; bad ones are named, the rest is answered."""
    _, directory = exported
    several = [tone("rising", seed) for seed in (50, 51, 52)]
    long = np.concatenate([np.pad(one, (0, 2000 - len(one))) for one in several])
    (tmp_path / "long.wav").write_bytes(wave_files.encoded(long, RATE))
    (tmp_path / "bad.wav").write_bytes(b"no")
    found = cnn_app.predict(directory, tmp_path)
    assert str(found[0].error) == f"cannot read {tmp_path / 'bad.wav'}: it is no WAV"
    windows = np.round(long * 2**15).reshape(3, 2000).astype(np.float32) / 2**15
    each = open_model(directory).run({"audio": windows})["probabilities"]
    np.testing.assert_allclose(found[1].outputs["probabilities"], each.mean(0), atol=1e-5)
    assert found[1].answer["top"][0]["label"] == "rising"
    runner = click.testing.CliRunner()
    file = str(directory / "mobile" / f"{directory.name}-int8.tflite")
    asked = ["predict", file, "-", str(tmp_path / "bad.wav"), "--json", "--draw", str(tmp_path / "drawn")]
    result = runner.invoke(cli, asked, input=(tmp_path / "long.wav").read_bytes())
    assert result.exit_code == 1 and "it is no WAV" in result.stderr
    assert json.loads(result.stdout)[0]["top"][0]["label"] == "rising"
    assert len(list((tmp_path / "drawn").iterdir())) == 1
    arrays = cnn_app.predict(directory, windows)
    assert [one.answer["top"][0]["label"] for one in arrays] == ["rising"] * 3
    assert "record 0 has the shape (100,)" in str(cnn_app.predict(directory, windows[:, :100])[0].error)


def test_records_from_arrays_and_bad_files(tones, tmp_path):
    waves_of = np.stack([np.resize(tone(label, seed), 2000) for label in TONES for seed in range(10)])
    records = data.arrays({"train": (waves_of, np.repeat(np.arange(3), 10))}, tuple(TONES), input="audio")
    card = cnn_app.train("tdnn", records, tmp_path / "m", columns=SMALL, schedule=Schedule(epochs=1, batch=8))
    assert card.data["counts"]["train"] > 0 and list(card.recipe["augment"]) == []
    folder = tmp_path / "data"
    for label in TONES:
        (folder / label).mkdir(parents=True)
        for seed in range(7):
            (folder / label / f"{seed}.wav").write_bytes(wave_files.encoded(tone(label, seed), 2 * RATE))
    (folder / "rising" / "3.wav").write_bytes(written(np.array([0, np.inf], "<f4")))
    with pytest.raises(DataError, match="cannot read rising/3.wav: it has samples that are no finite numbers"):
        cnn_app.train("tdnn", str(folder), tmp_path / "n", columns=SMALL, schedule=Schedule(epochs=1, batch=8))
    told = "waves for classification cannot be changed by 'flip'; known: shift, noise"
    with pytest.raises(TrainingError, match=told):
        cnn_app.train("tdnn", records, tmp_path / "n", columns=SMALL, schedule=Schedule(augment=("flip",)))
    (folder / "none").mkdir()
    with pytest.raises(DataError, match="the class folder 'none' has no waves"):
        cnn_app.train("tdnn", str(folder), tmp_path / "n", columns=SMALL)


def test_statistics_stay_in_float_as_well():
    """A network with standard deviations over time has an int8 file, too."""
    model = cnn_app.create_model("tdnn", **SMALL, pooling="statistics", segments=(6,), classes=3)
    task = tasks.named("classification")(input=Audio(RATE, 2000), labels=tuple(TONES))
    taken = np.stack([np.resize(tone(label, seed), 2000) for label in TONES for seed in range(4)])
    from cnn_app.export import graph
    from cnn_app.export.targets import target
    from cnn_app.runtimes.tflite import TFLiteRuntime, interpreter_class

    made = tflite.Calibrated(task, graph.deployable(model), target("tflite-int8"), {"audio": taken})
    found = TFLiteRuntime(interpreter_class()(model_content=made.quantized())).run({"audio": taken})
    wanted = task.deployed(model).predict_on_batch(taken)
    assert {made.layer(name) for name in made.in_float} == {"log_mel", "minus_mean", "pool"}
    np.testing.assert_allclose(found["probabilities"], wanted["probabilities"], atol=0.02)
