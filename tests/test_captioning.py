"""Captions: words and BLEU by hand, decoding against other ways to compute it, every door from a folder to a server."""

import os
import signal

import browsing
import keras
import numpy as np
import PIL.Image
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner
from sacrebleu.metrics import BLEU

import cnn_app
from cnn_app import heads, tasks
from cnn_app.analysis.complexity import complexity
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import arrays
from cnn_app.errors import DataError, ExportError, ModelError, RecipeError, TrainingError
from cnn_app.export import golden, parts, tflite
from cnn_app.export.graph import deployable
from cnn_app.export.quantization import simulation
from cnn_app.export.targets import target
from cnn_app.inputs.image import Image
from cnn_app.jobs.predict import predict
from cnn_app.jobs.rehearsal import dry_run, memorise
from cnn_app.jobs.train import plan, run
from cnn_app.layers import GreedyWords
from cnn_app.layers.captions import silenced
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.serving import Client
from cnn_app.tasks import caption_words
from cnn_app.tasks.caption_report import Report, bleu
from cnn_app.tasks.caption_search import beam_search
from cnn_app.tasks.captioning import Captioning
from cnn_app.training import engine
from cnn_app.transfer.features import tapped

SIDE = 16
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
PLACES = {"left": slice(0, 6), "right": slice(10, 16)}
OPTIONS = {"embedding": 8, "units": 12, "length": 5, "rare": 1}
COLUMNS = {"image": (SIDE, SIDE, 3), "channels": (8,)}
SCHEDULE = Schedule(epochs=2, batch=8, lr=1e-2, warmup=0.0, augment=("flip",))
WORDS = (*caption_words.MARKS, "a", "dog", "runs", "isn", "n't")


def task(**options):
    return Captioning(input=Image((SIDE, SIDE, 3)), labels=WORDS, **(OPTIONS | options))


# --- words


def test_a_caption_is_cut_into_lower_case_words_without_marks():
    found = caption_words.plain([b"A Dog , isn't it ?", b"Two dogs -- running!", "Élan vital".encode()])
    assert found == ["a dog is n't it", "two dogs running", "élan vital"]


def test_words_are_ranked_and_rare_ones_left_out():
    texts = [b"a dog runs\na dog", b"A cat runs"]
    assert caption_words.vocabulary(texts, 1) == (*caption_words.MARKS, "a", "dog", "runs", "cat")
    assert caption_words.vocabulary(texts, 3) == (*caption_words.MARKS, "a")
    with pytest.raises(DataError, match="4 times or more"):
        caption_words.vocabulary(texts, 4)


def test_ids_end_with_zero_and_long_captions_are_cut():
    table = caption_words.Table(WORDS, 4)
    ids = table.ids([b"a dog", b"a cat runs", b"a a a a dog"])
    assert ids.numpy().tolist() == [[2, 3, 0, 0], [2, 1, 4, 0], [2, 2, 2, 2]]
    assert caption_words.before(ids).numpy().tolist() == [[0, 2, 3, 0], [0, 2, 1, 4], [0, 2, 2, 2]]
    assert np.asarray(caption_words.counted(ids)).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_one_caption_is_drawn_by_the_seed():
    table, texts = caption_words.Table(WORDS, 2), tf.constant([b"a\ndog\nruns"] * 300 + [b"dog"])
    first, again, other = (table.drawn(texts, seed).numpy() for seed in ((0, 1), (0, 1), (0, 2)))
    assert (first == again).all() and (first != other).any() and first[-1].tolist() == [3, 0]
    counts = np.unique(first[:-1, 0], return_counts=True)
    assert counts[0].tolist() == [2, 3, 4] and counts[1].min() > 70


# --- the network


def test_counts_by_hand():
    """Three convolutions, 1,000 words of 512 numbers, an LSTM of 512 units at 21 steps, scores at 20 places."""
    convolutions = 27 * 32 + 9 * 32 * 64 + 9 * 64 * 128
    norms, words = 2 * (32 + 64 + 128), 512 * 1000
    weights = convolutions + norms + (128 * 512 + 512) + words + 4 * 512 * (512 + 512 + 1) + words + 1000
    macs = 27 * 32 * 32**2 + 9 * 32 * 64 * 16**2 + 9 * 64 * 128 * 8**2 + 128 * 512 + 21 * 4 * 512 * 1024 + 20 * words
    counted = complexity(cnn_app.create_model("captioner"))
    assert (counted.trainable, counted.macs) == (weights, macs) == REFERENCE["captioner"][:2]


def network(classes=7, name="captioner", seed=0, **columns):
    keras.utils.set_random_seed(seed)
    columns = (COLUMNS if name == "captioner" else {"image": (32, 32, 3)}) | {"classes": classes} | columns
    model = heads.build(name, columns, task().head)
    table, scorer = model.get_layer("head_words"), model.get_layer("logits")
    table.set_weights([3 * np.random.default_rng(seed).standard_normal(table.table.shape)])
    for name in ("head_code", "head_lstm"):
        layer = model.get_layer(name)
        layer.set_weights([3 * weight for weight in layer.get_weights()])
    kernel, bias = scorer.get_weights()
    scorer.set_weights([9 * kernel, bias - 2 * (np.arange(classes) == 0)])
    return model


def pixels(n=3, side=SIDE):
    return np.random.default_rng(0).uniform(0, 255, (n, side, side, 3)).astype(np.float32)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("name", ["captioner", "lenet5"])
def test_greedy_words_are_the_best_of_the_taught_network(name):
    """The LSTM of Keras, told the words that were said, finds each of them the most probable."""
    model = network(name=name, **({"image": (32, 32, 3)} if name == "lenet5" else {}))
    images = pixels(8, model.input_shape[0][1])
    found = heads.named("captioning").deployed(model)(images)
    tokens, scores = np.asarray(found["tokens"]), np.asarray(found["scores"])
    logits = model([images, caption_words.before(tokens).numpy()])["logits"]
    chances = log_softmax(np.asarray(logits, np.float64))
    ended = np.cumsum(tokens == 0, 1) - (tokens == 0) > 0
    allowed = chances.copy()
    allowed[..., 1] = allowed[:, 0, 0] = -np.inf
    assert name != "captioner" or len(np.unique(tokens)) > 3
    np.testing.assert_array_equal(tokens, np.where(ended, 0, allowed.argmax(-1)))
    wanted = np.take_along_axis(chances, tokens[..., None], 2)[..., 0]
    np.testing.assert_allclose(scores, np.where(ended, 0, wanted), atol=1e-5)


def test_what_ends_stays_ended():
    """A network that always says the end behind one word."""
    model = network()
    scorer = model.get_layer("logits")
    scorer.set_weights([np.zeros_like(scorer.get_weights()[0]), np.array([2, 9, 0, 1, 0, 0, 0], np.float32)])
    found = heads.named("captioning").deployed(model)(pixels(2))
    np.testing.assert_array_equal(found["tokens"], [[3, 0, 0, 0, 0]] * 2)
    chances = log_softmax(np.array([2.0, 9, 0, 1, 0, 0, 0]))
    np.testing.assert_allclose(found["scores"], [[chances[3], chances[0], 0, 0, 0]] * 2, atol=1e-5)


def parts_of(model):
    deployed = heads.named("captioning").deployed(model)
    parts = heads.named("captioning").parts(deployed)

    def step(given):
        found = parts["step"]([given[tensor.name] for tensor in parts["step"].inputs])
        return {name: np.array(array) for name, array in found.items()}

    return deployed, {name: np.asarray(array) for name, array in parts["encode"](pixels()).items()}, step


def test_a_beam_of_one_is_greedy_and_a_wide_one_finds_the_best():
    deployed, begun, step = parts_of(network(classes=5))
    greedy = deployed(pixels())
    for name, array in beam_search(begun, step, 5, 1).items():
        np.testing.assert_allclose(array, greedy[name], atol=1e-5)
    wide = beam_search(begun, step, 3, 64)
    best = np.array(every_sum(begun, step, 3))
    np.testing.assert_allclose(wide["scores"].sum(1), best, atol=1e-5)
    assert (beam_search(begun, step, 3, 1)["scores"].sum(1) <= best + 1e-5).all()


def every_sum(begun, step, length):
    """The highest sum of all captions of up to `length` words, one after the other."""
    best = []
    for i in range(len(begun["hidden"])):
        waiting, found = [(0, {name: array[i : i + 1] for name, array in begun.items()}, 0.0, 0)], []
        while waiting:
            word, state, total, place = waiting.pop()
            if place == length or (place and word == 0):
                found.append(total)
                continue
            given = step({"word": np.array([word], np.int32), **state})
            given = {name.removeprefix("next_"): array for name, array in given.items()}
            chances = given.pop("scores")[0] + np.asarray(silenced(5, place == 0))
            waiting += [(next_, given, total + chance, place + 1) for next_, chance in enumerate(chances)
                        if chance > -1e8]  # fmt: skip
        best.append(max(found))
    return best


@pytest.mark.parametrize(
    ("name", "told"), [("unet", "no head for captions"), ("text_cnn", "of texts, and has no head")]
)
def test_other_networks_have_no_head_for_captions(name, told):
    with pytest.raises(ModelError, match=told):
        heads.build(name, {}, task().head)


def test_a_saved_network_says_the_same(tmp_path):
    model = network()
    model.save(tmp_path / "it.keras")
    again = heads.named("captioning").deployed(keras.saving.load_model(tmp_path / "it.keras"))(pixels())
    for name, array in heads.named("captioning").deployed(model)(pixels()).items():
        np.testing.assert_array_equal(again[name], array)


def test_what_stays_in_float_has_no_simulation():
    assert "head_" in simulation.obstacle(simulation.folded(deployable(network())))


# --- loss and figures


def test_the_loss_is_the_mean_over_words_and_the_end():
    words = np.array([[2, 3, 0, 0, 0], [4, 2, 3, 2, 3]], np.int32)
    logits = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)
    chances = log_softmax(logits.astype(np.float64))
    loss = task().objective(Schedule(), None)({"logits": logits}, {"target": words})
    wanted = [-np.mean([chances[0, i, words[0, i]] for i in range(3)]),
              -np.mean([chances[1, i, words[1, i]] for i in range(5)])]  # fmt: skip
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    logits[0, range(3), words[0, :3]] = 9.0
    assert task().step_metrics({"logits": logits}, {"target": words})["word_accuracy"][0] == 1
    smoothed = task().objective(Schedule(label_smoothing=1.0), None)({"logits": logits}, {"target": words})
    np.testing.assert_allclose(smoothed[1], -chances[1].mean(), rtol=1e-5)
    with pytest.raises(TrainingError, match="no class weights"):
        task().objective(Schedule(class_weights="balanced"), None)


def test_bleu_by_hand_and_by_the_library():
    """Two of three words, one of two pairs; three words against references of four and of three."""
    found = bleu(["a dog runs"], [["a dog sleeps here", "the dog is"]])
    assert found == pytest.approx([2 / 3, (2 / 3 * 1 / 2) ** 0.5, 0, 0])
    assert bleu(["a dog"], [["a dog runs fast"]])[0] == pytest.approx(np.exp(1 - 4 / 2))
    rng = np.random.default_rng(0)
    said = [" ".join(rng.choice(list("abcd"), 9)) for _ in range(12)]
    people = [[" ".join(rng.choice(list("abcd"), 8)) for _ in range(1 + i % 3)] for i in range(12)]
    streams = [[several[k] if k < len(several) else None for several in people] for k in range(3)]
    for order, value in enumerate(bleu(said, people), start=1):
        peer = BLEU(tokenize="none", smooth_method="none", force=True, max_ngram_order=order)
        assert value == pytest.approx(peer.corpus_score(said, streams).score / 100)


def test_the_worst_captions_come_first():
    said, people = ["a dog", "a cat runs", "no"], [["a dog"], ["a cat sleeps"], ["two men"]]
    report = Report(said, people, np.array([0.5, 0.4, 0.3]), {"nats": 20.0, "hits": 5.0, "count": 10.0}, {})
    worst = report.mistakes(2)
    assert [(one.place, one.true, one.found, one.probability) for one in worst] == [
        (2, "two men", "no", 0.3), (1, "a cat sleeps", "a cat runs", 0.4)]  # fmt: skip
    assert report.metrics["perplexity"] == pytest.approx(np.exp(2)) and report.metrics["word_accuracy"] == 0.5


def test_agreement_means_and_other_orders_are_of_whole_captions():
    one = {"tokens": np.array([[2, 3, 0], [2, 0, 0]]), "scores": np.array([[-1.0, -1, 0], [-3, 0, 0]])}
    other = {"tokens": np.array([[2, 3, 0], [3, 0, 0]]), "scores": np.array([[-2.0, -2, 0], [-1, 0, 0]])}
    assert task().agreement(one, other) == 0.5
    mean = task().averaged([one, other])
    assert mean["tokens"].tolist() == [[2, 3, 0], [3, 0, 0]] and mean["scores"][1].tolist() == [-1, 0, 0]
    labels = (*caption_words.MARKS, "dog", "a", "runs", "isn", "n't")
    places = [WORDS.index(word) for word in labels]
    moved = Captioning(input=Image((SIDE, SIDE, 3)), labels=labels).sentence(task().reordered(one, places)["tokens"][0])
    assert moved == task().sentence(one["tokens"][0]) == "a dog"


@pytest.mark.parametrize("options", [{"length": 0}, {"units": 5000}, {"embedding": 2.5}, {"rare": True}])
def test_sizes_without_sense_are_refused(options):
    with pytest.raises(RecipeError, match=f"{next(iter(options))} of captions is a whole number from 1 to"):
        task(**options)


# --- data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("captions")
    (root / "images").mkdir()
    lines = ["image,caption"]
    for i in range(40):
        colour, place = list(COLOURS)[i % 3], list(PLACES)[i // 3 % 2]
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[4:12, PLACES[place]] = COLOURS[colour]
        PIL.Image.fromarray(image).save(root / "images" / f"{i:02d}.png")
        lines += [f"{i:02d}.png,A {colour} square .", f'{i:02d}.png,"{colour}, {place}"']
    (root / "captions.txt").write_text("\n".join(lines))
    return root


def test_every_image_has_its_captions_and_lies_in_one_split(folder):
    dataset = task().load(Data(source=str(folder), split="70/15/15"))
    assert dataset.counts() == {"train": 28, "val": 6, "test": 6} and dataset.labels[:4] == (
        *caption_words.MARKS, *dataset.labels[2:4])  # fmt: skip
    names = [name for split in dataset.splits.values() for name in split.names]
    assert sorted(names) == [f"images/{i:02d}.png" for i in range(40)]
    split = dataset.splits["test"]
    i = int(split.names[0][7:9])
    colour, place = list(COLOURS)[i % 3], list(PLACES)[i // 3 % 2]
    assert split.targets["captions"].array[0].decode() == f"A {colour} square .\n{colour}, {place}"
    assert dataset.fingerprint() == task().load(Data(source=str(folder), split="70/15/15")).fingerprint()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["image,text", "00.png,a"], "captions.txt:1 has the columns image, text; image and caption are needed"),
        (["image,caption"], "has no captions; add a line"),
        (["image,caption", "99.png,a dog"], "captions.txt:2 names the image 99.png, which is neither in"),
        (["image,caption", "../00.png,a dog"], "a path inside the folder"),
        (["image,caption", "00.png,a dog, a cat"], "captions.txt:2 has 3 cells, the header 2; a caption with commas"),
        (["image,caption", "00.png,a dog", "00.png, .?"], r"captions.txt:3 has the caption '\.\?', which has no word"),
        (["image,caption", "00.png," + "a " * 1001], "of 2,001 characters|of 2,002 characters"),
        (["image,caption", *["00.png,a dog"] * 101], "captions.txt:102 has one more than 100 captions of 00.png"),
    ],
)
def test_a_bad_table_is_told_in_one_line(lines, told, folder, tmp_path):
    (tmp_path / "images").symlink_to(folder / "images")
    (tmp_path / "captions.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=told) as found:
        task().load(Data(source=str(tmp_path)))
    assert "\n" not in str(found.value)


def test_folders_without_a_table_and_other_records_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no captions.txt; a table with the columns image and caption"):
        task().load(Data(source=str(tmp_path)))
    with pytest.raises(DataError, match="image and captions are needed"):
        task().load(Data(source="shapes"))
    with pytest.raises(DataError, match="record 1 of train has the caption"):
        task().load(arrays({"train": (np.zeros((2, 8, 8, 3), np.uint8), np.array([b"a", b"?"]))}, target="captions"))


# --- the chain


def job(folder, schedule=SCHEDULE, **columns):
    return plan("captioner", COLUMNS | columns, Data(source=str(folder)), schedule, OPTIONS)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "squares")
    run(job(folder, dropout=0.1), directory)
    return directory


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_result(trained, folder, tmp_path):
    """Drawn captions and dropout are functions of seeds that are saved, or of the step."""
    directory = ModelDir(tmp_path / "squares")

    def stop(epoch, done, steps, logs):
        if epoch == 1 and done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="after step 4"):
        run(job(folder, dropout=0.1), directory, watch=engine.Watch(step=stop))
    run(job(folder, dropout=0.1), directory, resume=True)
    for ours, theirs in zip(*(cnn_app.load_model(one.path).get_weights() for one in (directory, trained)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert directory.history.read_text() == trained.history.read_text()


def test_a_card_has_the_vocabulary_and_figures_that_hold(trained, folder):
    card = trained.read_card()
    assert card.task == "captioning" and card.labels[:2] == caption_words.MARKS and "red" in card.labels
    assert card.columns["classes"] == len(card.labels) == 9 and card.options == OPTIONS
    measured = cnn_app.evaluate(trained.path, str(folder)).report
    assert measured.metrics == pytest.approx(card.metrics["test"], rel=1e-5)
    assert {"bleu1", "bleu4", "bleu4_beam3", "perplexity", "loss"} <= set(measured.metrics)
    assert 1 < measured.metrics["perplexity"] < 9


def test_perplexity_is_of_all_captions(trained, folder):
    """Each caption by itself through the network that is trained."""
    model, known = cnn_app.load_model(trained.path), tasks.of_card(trained.read_card())
    split = known.load(Data(source=str(folder))).splits["test"]
    table, nats, count = caption_words.Table(known.labels, 5), 0.0, 0
    for i, text in enumerate(split.targets["captions"].array):
        with PIL.Image.open(folder / split.names[i]) as image:
            image = np.asarray(image, np.float32)[None]
        for caption in text.split(b"\n"):
            ids = table.ids([caption])
            logits = model([image, caption_words.before(ids).numpy()])["logits"]
            chances = log_softmax(np.asarray(logits, np.float64))[0]
            words = ids.numpy()[0]
            n = min(np.count_nonzero(words) + 1, 5)
            nats, count = nats - chances[range(n), words[:n]].sum(), count + n
    wanted = trained.read_card().metrics["test"]
    assert (nats / count, np.exp(nats / count)) == pytest.approx((wanted["loss"], wanted["perplexity"]), rel=1e-4)


@pytest.mark.slow
def test_a_head_learns_on_a_frozen_trunk(trained, folder, tmp_path):
    schedule = {"epochs": 1, "batch": 8, "augment": ()}
    transfer = cnn_app.recipe.Transfer(freeze="backbone")
    card = cnn_app.finetune(trained.path, str(folder), tmp_path / "it", schedule=schedule, transfer=transfer)
    before, after = cnn_app.load_model(trained.path), cnn_app.load_model(tmp_path / "it")
    same = {layer.name: all(map(np.array_equal, layer.get_weights(), after.get_layer(layer.name).get_weights()))
            for layer in before.layers if layer.weights}  # fmt: skip
    assert same["conv1_conv"] and same["conv1_bn"]
    assert card.options == OPTIONS and card.metrics["epoch"] in (0, 1)


@pytest.mark.slow
def test_a_batch_can_be_memorised_and_a_run_looked_at(folder, monkeypatch):
    small = job(folder, Schedule(batch=4, lr=2e-2, augment=()))
    assert dry_run(small)["classes"] == 9
    monkeypatch.setattr(engine, "OVERFIT_STEPS", 60)
    assert memorise(small)["word_accuracy"] >= 0.9


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """Files of the network by target."""
    known, model = tasks.of_card(trained.read_card()), cnn_app.load_model(trained.path)
    base = tmp_path_factory.mktemp("files")
    return {kind: served.export(known, model, base / kind, kind) for kind in ("saved_model", "tflite-float32", "onnx")}


@pytest.mark.slow
def test_every_file_says_the_same(trained, files, folder):
    wanted = cnn_app.evaluate(trained.path, str(folder)).report
    for file in files.values():
        found = cnn_app.evaluate(file, str(folder)).report
        assert found.captions == wanted.captions and "perplexity" not in found.metrics
        assert found.metrics["bleu1"] == wanted.metrics["bleu1"]
    both = cnn_app.evaluate([trained.path, files["onnx"]], str(folder))
    assert both.ensemble.captions == wanted.captions


def test_signatures_say_sentences_and_take_steps(trained, files, folder):
    image = (folder / "images" / "00.png").read_bytes()
    (wanted,) = predict(trained.path, folder / "images" / "00.png")
    signatures = tf.saved_model.load(str(files["saved_model"])).signatures
    found = signatures["image_bytes"](image_bytes=tf.constant([image, image]))
    assert [one.decode() for one in found["caption"].numpy()] == [wanted.answer["caption"]] * 2
    with PIL.Image.open(folder / "images" / "00.png") as opened:
        shown = np.asarray(opened)[None]
    begun = {name: array.numpy() for name, array in signatures["encode"](image=tf.constant(shown)).items()}

    def step(given):
        taken = {name: tf.constant(array) for name, array in given.items()}
        return {name: array.numpy() for name, array in signatures["step"](**taken).items()}

    tokens = beam_search(begun, step, 5, 1)["tokens"][0]
    assert tasks.of_card(trained.read_card()).sentence(tokens) == wanted.answer["caption"]
    code = signatures["features"](image=tf.constant(shown))["features"]
    np.testing.assert_allclose(code, tapped(cnn_app.load_model(trained.path))(shown.astype("float32")), atol=1e-5)


def test_servers_answer_with_a_sentence(trained, files, folder):
    image = folder / "images" / "01.png"
    (wanted,) = predict(trained.path, image)
    with served.running(*(f"{name}={file}" for name, file in files.items())) as server:
        for name in files:
            for address in (server.rest, server.grpc):
                with Client(f"{address}/{name}") as client:
                    (answer,) = client.each([image.read_bytes()], client.encoded)
                assert answer.text() == wanted.answer["caption"] == answer.told()["caption"]
                words = answer.told()["words"]
                assert [one["word"] for one in words] == wanted.answer["caption"].split()
                chances = [one["probability"] for one in wanted.answer["words"]]
                assert [one["probability"] for one in words] == pytest.approx(chances, abs=1e-4)


@browsing.needs_chromium
def test_the_page_shows_the_sentence(trained, files, folder, browser):
    image = folder / "images" / "01.png"
    (wanted,) = predict(trained.path, image)
    with served.running(files["saved_model"]) as found:
        browsing.visit(browser, found.rest)
        browsing.give(browser, image.read_bytes())
        browsing.wait(browser, lambda: wanted.answer["caption"] in browsing.find(browser, "#top").text)


@pytest.mark.slow
def test_commands_show_data_captions_and_the_worst(trained, folder, tmp_path):
    def invoke(*arguments):
        result = CliRunner().invoke(cli, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.output

    sheet, worst = tmp_path / "sheet.png", tmp_path / "worst.png"
    invoke("data", "show", folder, "--model", "captioner", "--image", SIDE, "--n", 4, "-t", "rare=1", "--out", sheet)
    output = invoke("predict", trained.path, folder / "images" / "00.png", "--draw", tmp_path)
    assert output.startswith(f"{folder / 'images' / '00.png'}: ") and len(output.split()) > 1
    output = invoke("evaluate", trained.path, "--data", folder, "--mistakes", worst, "--confusion", tmp_path / "b.png")
    assert "BLEU-4, beam 3" in output and "people's" in output
    for file in (sheet, worst, tmp_path / "00.png", tmp_path / "b.png"):
        with PIL.Image.open(file) as image:
            assert np.asarray(image)[..., :3].std() > 10


@pytest.mark.slow
def test_export_proves_every_file(trained, folder):
    targets = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "onnx")
    options = cnn_app.recipe.Export(targets=targets, max_drop=5.0)
    for result in cnn_app.export(trained.path, options, str(folder)):
        assert result.metric == "bleu4" and result.agreement >= 0.8, result
    for file in (*trained.mobile.glob("squares-*[0-9].tflite"), trained.onnx / "squares.onnx", trained.serving / "1"):
        assert golden.check(file).passed
    said = {line["path"]: line for line in trained.read_exports() if "part" in line}
    stems = ("mobile/squares-float16.{}.tflite", "mobile/squares-float32.{}.tflite", "onnx/squares.{}.onnx")
    assert set(said) == {stem.format(part) for stem in stems for part in ("encode", "step")}
    assert all(line["max_difference"] < 0.01 for line in said.values())
    known, (wanted,) = tasks.of_card(trained.read_card()), predict(trained.path, folder / "images" / "00.png")
    with PIL.Image.open(folder / "images" / "00.png") as image:
        image = {"image": np.asarray(image)[None]}
    for stem in stems[1:]:
        encode, step = (open_model(trained.path / stem.format(part)) for part in ("encode", "step"))
        found = beam_search(encode.run(image), step.run, 5, 1)
        assert known.sentence(found["tokens"][0]) == wanted.answer["caption"]


@pytest.mark.parametrize(("share", "told"), [(1.04, None), (1.06, r"words.encode.tflite differs by 6.0% from the")])
def test_a_part_that_says_something_else_is_not_written(tmp_path, monkeypatch, share, told):
    """In float16 by a twentieth, root mean square."""
    known = task()
    deployed = deployable(network())
    part = known.parts(deployed)["encode"]

    class File:
        def run(self, given):
            return {name: share * np.asarray(array) for name, array in part(given["image"]).items()}

    monkeypatch.setattr(parts, "open_model", lambda path: File())
    monkeypatch.setattr(tflite, "write_alone", lambda serve, part, path, target: path.write_bytes(b"it"))
    written = parts.write(known, deployed, tmp_path / "words.tflite", target("tflite-float16"), {"image": pixels()})
    if told is None:
        assert next(written)[2]["part"] == "encode"
    else:
        with pytest.raises(ExportError, match=told):
            next(written)
        assert not list(tmp_path.iterdir())


def test_the_layer_gives_its_shapes_before_it_runs():
    model = network()
    layer = GreedyWords(*(model.get_layer(name) for name in ("head_words", "head_lstm", "logits")), 4)
    found = layer(keras.Input((8,)))
    assert (
        found["tokens"].shape == (None, 4) and found["tokens"].dtype == "int32" and found["scores"].shape == (None, 4)
    )
    runtime = KerasRuntime(heads.named("captioning").deployed(model))
    assert {name: str(spec) for name, spec in runtime.outputs.items()} == {
        "tokens": "int32 (n, 5)", "scores": "float32 (n, 5)"}  # fmt: skip
