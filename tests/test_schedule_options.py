"""One step by hand: averages of weights, clipping, accumulation and mixed precision."""

import keras
import numpy as np
import pytest
from test_steps import FAMILIES, example

from cnn_app import heads
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import RecipeError
from cnn_app.recipe import Schedule
from cnn_app.training import engine
from cnn_app.training.optimizers import learning_rate
from cnn_app.training.step.twin import twin

PLAIN = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0}
RATE = 0.1


@pytest.fixture
def lenet():
    return example("lenet5")


def stepper(parts, **changes):
    model, task, _, _, known = parts
    split = Split([""] * len(known["class"]), {}, {"class": in_memory(known["class"])})
    return engine.stepper(model, task, split, Schedule(**PLAIN | changes))


def moved(parts, batches, **changes):
    """How far weights go in these batches, by name."""
    run = stepper(parts, **changes)
    before = run.state()
    for batch in batches:
        run.train(*batch, RATE)
    after = run.state()
    run.restore(before)
    return {name: after[name] - before[name] for name in after if name.startswith("model/")}


def halves(parts):
    _, _, inputs, targets, _ = parts
    return [tuple({name: array[place] for name, array in part.items()} for part in (inputs, targets))
            for place in (slice(0, 4), slice(4, 8))]  # fmt: skip


def test_clipping_is_of_the_norm_of_all_gradients(lenet):
    free, kept = (moved(lenet, [lenet[2:4]], clip=clip) for clip in (0.0, 0.01))
    norm = np.sqrt(sum((step**2).sum() for step in free.values())) / RATE
    assert norm > 0.01
    for name, step in free.items():
        np.testing.assert_allclose(kept[name], step * 0.01 / norm, rtol=1e-4, atol=1e-7)
    loose = moved(lenet, [lenet[2:4]], clip=2 * norm)
    np.testing.assert_allclose(loose["model/f6/kernel"], free["model/f6/kernel"], rtol=1e-5)


def test_two_halves_of_a_batch_are_accumulated_to_its_step(lenet):
    whole = moved(lenet, [lenet[2:4]])
    first = moved(lenet, halves(lenet)[:1], accumulate=2)
    both = moved(lenet, halves(lenet), accumulate=2)
    for name, step in whole.items():
        assert not first[name].any()
        np.testing.assert_allclose(both[name], step, rtol=1e-3, atol=1e-7)


def test_decay_is_once_in_an_accumulated_step(lenet):
    """With a rate of zero for the gradient nothing moves; with decay a kernel loses rate x decay once."""
    plain, decayed = (moved(lenet, halves(lenet), accumulate=2, weight_decay=decay) for decay in (0.0, 0.5))
    kernel = lenet[0].get_layer("f6").get_weights()[0]
    np.testing.assert_allclose(decayed["model/f6/kernel"] - plain["model/f6/kernel"], -RATE * 0.5 * kernel, atol=1e-6)


def test_averages_are_what_the_model_gets():
    """After one batch an average keeps 2/11 of itself, after a second 3/12; statistics of batches are averaged, too."""
    model, task, inputs, targets, known = parts = example("resnet20")
    run = stepper(parts, ema=0.9)
    weights = [{weight.path: np.array(weight) for weight in model.weights}]
    for _ in range(2):
        run.train(inputs, targets, RATE)
        weights.append({name.removeprefix("model/"): array for name, array in run.state().items()})
    run.sync()
    for weight in model.weights:
        start, first, second = (found[weight.path] for found in weights)
        average = start + (first - start) * 9 / 11
        average += (second - average) * 9 / 12
        np.testing.assert_allclose(weight, average, rtol=1e-4, atol=1e-6, err_msg=weight.path)
    assert any("moving_mean" in weight.path and np.any(weight) for weight in model.weights)


def test_averages_and_weights_go_on_where_they_were():
    parts = example("resnet20")
    run = stepper(parts, ema=0.9)
    run.train(*parts[2:4], RATE)
    saved = run.state()
    run.train(*parts[2:4], RATE)
    again = stepper(example("resnet20"), ema=0.9)
    again.restore(saved)
    again.train(*parts[2:4], RATE)
    wanted, found = run.state(), again.state()
    assert list(found) == list(wanted) and any(name.startswith("average/") for name in wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("network", ("resnet20", "alexnet", "tdnn", "autoencoder"))
def test_what_is_exact_stays_in_float32(network):
    copy = twin(heads.build(network, FAMILIES[network]), "bfloat16")
    computed = {layer.name: layer.compute_dtype for layer in copy.layers}
    assert {str(variable.dtype) for variable in copy.weights} == {"float32"}
    assert {tensor.dtype for tensor in keras.tree.flatten(copy.output)} == {"float32"}
    for layer in copy.layers:
        if "Normalization" in type(layer).__name__ or isinstance(layer, keras.layers.Rescaling):
            assert computed[layer.name] == "float32"
    assert "bfloat16" in computed.values()


@pytest.mark.parametrize("precision", ("bfloat16", "float16"))
def test_a_mixed_step_is_nearly_that_of_float32(precision, lenet):
    exact, mixed = (moved(lenet, [lenet[2:4]], precision=kind) for kind in ("float32", precision))
    exact, mixed = (np.concatenate([step.ravel() for step in steps.values()]) for steps in (exact, mixed))
    assert 0 < np.linalg.norm(mixed - exact) < 0.05 * np.linalg.norm(exact)
    assert {layer.compute_dtype for layer in lenet[0].layers} == {"float32"}


def test_a_gradient_beyond_float16_is_left_out_and_the_scale_halved(lenet):
    run = stepper(lenet, precision="float16")
    before = run.state()
    (scale,) = (name for name in before if "dynamic_scale" in name)
    assert before[scale] == 2.0**15
    run.restore({scale: np.float32(2.0**120)})
    run.train(*lenet[2:4], RATE)
    after = run.state()
    assert after[scale] == 2.0**119 and np.isfinite(run.read()[0]["loss"])
    for name in before:
        if name.startswith("model/"):
            np.testing.assert_array_equal(after[name], before[name])


def test_options_that_make_no_sense():
    wrong = {"ema": (1.5, "ema lies between 0 and 1"), "accumulate": (0, "accumulate lies between 1"),
             "clip": (-1.0, "clip lies between 0"), "precision": ("half", "no precision named")}  # fmt: skip
    for name, (value, text) in wrong.items():
        with pytest.raises(RecipeError, match=text):
            Schedule(**{name: value})


def gradients(parts):
    """Of the first batch, by name: a step of plain gradient descent, by its rate."""
    return {name: -step / RATE for name, step in moved(parts, [parts[2:4]]).items()}


def test_classic_momentum_has_the_penalty_in_the_gradient(lenet):
    """The first step is -rate (g + decay w), and of a bias -rate g."""
    found = moved(lenet, [lenet[2:4]], optimizer="sgd-l2", momentum=0.9, weight_decay=0.5)
    kernel, bias = lenet[0].get_layer("f6").get_weights()
    wanted = gradients(lenet)
    np.testing.assert_allclose(found["model/f6/kernel"], -RATE * (wanted["model/f6/kernel"] + 0.5 * kernel), atol=1e-6)
    np.testing.assert_allclose(found["model/f6/bias"], -RATE * wanted["model/f6/bias"], atol=1e-6)


def test_classic_momentum_keeps_nine_tenths_of_a_step(lenet):
    """Two steps on one gradient are 1 + 1.9 of it, where Nesterov's are 1.9 + 2.71; the rate is so small that the
    gradient stays.
    """
    batches = [lenet[2:4]] * 2
    one = gradients(lenet)["model/f6/bias"]
    for name, times in (("sgd-l2", 2.9), ("sgd", 4.61)):
        run = stepper(lenet, optimizer=name, momentum=0.9)
        before = run.state()["model/f6/bias"]
        for batch in batches:
            run.train(*batch, 1e-4)
        np.testing.assert_allclose((run.state()["model/f6/bias"] - before) / -1e-4, times * one, rtol=0.02, atol=2e-3)


def test_rmsprop_is_that_of_inception(lenet):
    """The first step is -rate g / sqrt(0.1 g^2 + 1)."""
    found = moved(lenet, [lenet[2:4]], optimizer="rmsprop", momentum=0.9)["model/f6/kernel"]
    gradient = gradients(lenet)["model/f6/kernel"]
    np.testing.assert_allclose(found, -RATE * gradient / np.sqrt(0.1 * gradient**2 + 1), atol=1e-6)


def test_lamb_steps_are_as_long_as_the_weights(lenet):
    found = moved(lenet, [lenet[2:4]], optimizer="lamb")["model/f6/kernel"]
    kernel = lenet[0].get_layer("f6").get_weights()[0]
    assert np.linalg.norm(found) == pytest.approx(RATE * np.linalg.norm(kernel), rel=1e-3)


def test_muon_turns_kernels_and_leaves_the_rest_to_adam(lenet):
    """Kernels of convolutions as matrices (inputs, filters): all singular values of a step are near one size; Adam's
    first step is as long as the rate.
    """
    found = moved(lenet, [lenet[2:4]], optimizer="muon", momentum=0.95)
    for name in ("model/c3/kernel", "model/f6/kernel"):
        step = found[name].reshape(-1, found[name].shape[-1])
        sizes = np.linalg.svd(step, compute_uv=False) / (0.2 * RATE * np.sqrt(max(step.shape)))
        rank = np.linalg.matrix_rank(gradients(lenet)[name].reshape(step.shape), tol=1e-4)
        assert 0.6 < np.median(sizes[: min(rank, len(sizes))]) < 1.25 and sizes.max() < 1.3
    gradient = gradients(lenet)["model/logits/kernel"]
    large = np.abs(gradient) > 1e-3
    np.testing.assert_allclose(found["model/logits/kernel"][large], -RATE * np.sign(gradient[large]), rtol=1e-2)


@pytest.mark.parametrize(("optimizer", "rate"), (("lamb", 0.02), ("muon", 0.02), ("rmsprop", 0.05)))
def test_each_optimizer_learns(lenet, optimizer, rate):
    run = stepper(lenet, optimizer=optimizer, momentum=0.9)
    for _ in range(20):
        run.train(*lenet[2:4], rate)
    told = [row["loss"] for row in run.read()]
    assert told[-1] < 0.7 * told[0]


def test_rates_fall_as_their_names_say():
    """Ten epochs of ten steps, by hand."""
    linear = Schedule(lr=1.0, warmup=0, rate="linear")
    assert [learning_rate(linear, step, 10) for step in (0, 25, 99)] == pytest.approx([1, 0.75, 0.01])
    exponential = Schedule(lr=1.0, warmup=0, rate="exponential", rate_decay=0.5)
    assert [learning_rate(exponential, step, 10) for step in (0, 10, 25)] == pytest.approx([1, 0.5, 0.5**2.5])
    steps = Schedule(lr=1.0, warmup=0, rate="steps", milestones=(3.0, 4.5))
    assert [learning_rate(steps, step, 10) for step in (29, 30, 44, 45)] == pytest.approx([1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    "wrong", ({"rate": "steps"}, {"milestones": (3.0,)}, {"rate": "steps", "milestones": (3.0, 2.0)})
)
def test_milestones_belong_to_the_rate_of_steps(wrong):
    with pytest.raises(RecipeError, match="^the rate steps, and no other, has milestones"):
        Schedule(**wrong)
