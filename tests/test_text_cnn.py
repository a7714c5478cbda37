"""The sentence network: counts by hand, the padding that stays zero, and where word vectors learn."""

import keras
import numpy as np
import pytest

import cnn_app
from cnn_app import registry
from cnn_app.analysis.complexity import complexity
from cnn_app.architectures import text_cnn
from cnn_app.architectures.reference import REFERENCE
from cnn_app.errors import ModelError
from cnn_app.layers import WordTable
from cnn_app.recipe import Schedule
from cnn_app.training.optimizers import optimizer

SMALL = {"words": 50, "width": 8, "maps": 6, "length": 12}


def sentences(n=16, words=50, length=12):
    """Ids with padding behind, and classes."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, words, (n, length)).astype(np.int32)
    ids[np.arange(length) >= rng.integers(5, length, (n, 1))] = 0
    return ids, ids.max(1) % 2


@pytest.mark.parametrize("name", registry.names("text_cnn*"))
def test_counts_by_hand(name):
    """360,902 without the tables; a window of h words is applied at 64 - h + 1 places."""
    model = cnn_app.create_model(name)
    tables = [layer for layer in model.layers if isinstance(layer, WordTable)]
    assert all(table.count_params() == 18_766 * 300 == 5_629_800 for table in tables)
    assert len(tables) == (2 if "multichannel" in name else 1)
    counted = complexity(model)
    assert counted.trainable - 5_629_800 * len(tables) == 360_902 and counted.moving_statistics == 0
    assert counted.macs == sum((64 - h + 1) * h * 300 * 100 for h in (3, 4, 5)) + 300 * 2 == 21_900_600
    assert (counted.trainable, counted.macs) == REFERENCE[name][:2]
    assert (model.input.name, model.input.dtype, model.input_shape) == ("tokens", "int32", (None, 64))
    assert model.output_shape == (None, 2) and registry.spec(name).input == "text"


@pytest.mark.parametrize("name", registry.names("text_cnn*"))
def test_forward_pass_by_hand_save_and_reload(name, tmp_path):
    """With "multichannel" each filter is applied to both tables and the results are added, as the paper has it."""
    model = cnn_app.create_model(name, **SMALL)
    ids, _ = sentences()
    tables = [np.asarray(layer.table) for layer in model.layers if isinstance(layer, WordTable)]
    largest = []
    for h in (3, 4, 5):
        kernel, bias = model.get_layer(f"window{h}_conv").get_weights()
        maps = [sum(np.einsum("nhw,hwm->nm", table[ids[:, i : i + h]], kernel) for table in tables) + bias
                for i in range(12 - h + 1)]  # fmt: skip
        largest.append(np.maximum(maps, 0).max(0))
    weights, bias = model.get_layer("logits").get_weights()
    logits = model.predict_on_batch(ids)
    np.testing.assert_allclose(logits, np.concatenate(largest, 1) @ weights + bias, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = cnn_app.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(ids), logits)
    constraint = loaded.get_layer("logits").kernel_constraint
    assert constraint.get_config() == {"max_value": 3.0, "axis": 0}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("name", registry.names("text_cnn*"))
def test_training_leaves_the_padding_zero_and_fixed_tables_alone(name, kind):
    model = cnn_app.create_model(name, **SMALL, max_norm=0.5)
    tables = [layer for layer in model.layers if isinstance(layer, WordTable)]
    before = [np.array(layer.table) for layer in tables]
    for layer in model.layers:  # as a schedule of freezing does that freezes nothing
        layer.trainable = True
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(Schedule(optimizer=kind, lr=0.1, weight_decay=0.01)), loss)
    ids, classes = sentences()
    losses = [model.train_on_batch(ids, classes) for _ in range(20)]
    assert losses[-1] < losses[0]
    for layer, old in zip(tables, before, strict=True):
        new = np.asarray(layer.table)
        assert not new[0].any() and not old[0].any() and old[1:].all() and np.abs(old).max() <= 0.25
        assert (new == old).all() if layer.name == "words_fixed" else (new != old)[np.unique(ids)[1:]].all()
        reloaded = WordTable.from_config(layer.get_config())
        assert (reloaded.words, reloaded.width, reloaded.fixed) == (50, 8, layer.name == "words_fixed")
    lengths = np.linalg.norm(model.get_layer("logits").kernel, axis=0)
    assert (lengths < 0.5001).all() and lengths.max() == pytest.approx(0.5, rel=1e-3)


def test_rows_differ_in_where_their_vectors_come_from():
    rows = {name: registry.spec(name).embedding for name in registry.names("text_cnn*")}
    assert rows == {"text_cnn": "rand"} | {f"text_cnn_{kind}": kind for kind in ("static", "nonstatic", "multichannel")}
    weights = {name: cnn_app.create_model(name, **SMALL).trainable_weights for name in rows}
    learned = {name: any(weight.path.startswith("words") for weight in found) for name, found in weights.items()}
    assert learned == {name: name != "text_cnn_static" for name in rows}


def test_features_by_name():
    spec = registry.spec("text_cnn", **SMALL)
    taps = text_cnn.features(spec, keras.Input((12,), dtype="int32"))
    assert {name: tap.shape[1:] for name, tap in taps.items()} == {
        "words": (12, 8), "window3": (10, 6), "window4": (9, 6), "window5": (8, 6), "sentence": (18,)
    }  # fmt: skip
    assert cnn_app.create_model("text_cnn", **SMALL | {"windows": (2,), "dropout": 0.0}).count_params()


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"embedding": "word2vec"}, "takes embedding rand, static, nonstatic, multichannel, received 'word2vec'"),
        ({"windows": ()}, r"windows of one word or more, none twice, received \[\]"),
        ({"windows": (3, 3)}, r"none twice, received \[3, 3\]"),
        ({"windows": (0, 3)}, r"one word or more"),
        ({"length": 4}, "as long as its windows, 5, received 4"),
        ({"words": 2}, "3 words, received 300, 100 and 2"),
        ({"maps": 0}, "received 300, 0 and 18766"),
        ({"classes": 0}, "at least one class"),
    ],
)
def test_what_cannot_be_built_is_told(columns, text):
    with pytest.raises(ModelError, match=text):
        cnn_app.create_model("text_cnn", **columns)
