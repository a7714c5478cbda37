"""Deep Q-learning: replay, targets, exact resume, the exported network, and what an agent does."""

import json
import os
import signal
from dataclasses import replace

import gymnasium
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium import spaces
from PIL import Image

import cnn_app
from cnn_app.analysis.complexity import complexity
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import environments, frames
from cnn_app.errors import DataError, ModelError, RecipeError, TrainingError
from cnn_app.export.run import export
from cnn_app.inputs.observation import Observation
from cnn_app.jobs import rehearsal, sources, train
from cnn_app.jobs.evaluate import evaluate
from cnn_app.jobs.play import played
from cnn_app.recipe import Data, Export, Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.tflite import interpreter_class
from cnn_app.tasks.control import Control
from cnn_app.tasks.interaction import Interaction
from cnn_app.tasks.replay import NO_ACTION, Replay
from cnn_app.training import engine

LAMPS, STEPS = 3, 5
SCHEDULE = Schedule(epochs=2, batch=16, lr=0.02, warmup=0.0, weight_decay=0.0, augment=(), seed=3)
OPTIONS = {"envs": 2, "steps": 60, "random": 40, "replay": 200, "target_every": 20, "gamma": 0.5}


class Lamps(gymnasium.Env):
    """One of three lamps is lit; 1 for its button. After five lamps the episode is over, or is cut off."""

    observation_space = spaces.Box(0, 1, (LAMPS,), np.float64)
    action_space = spaces.Discrete(LAMPS)

    def __init__(self, cut_off=False, render_mode=None):
        self.cut_off, self.render_mode = cut_off, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number, self.lit = 0, int(self.np_random.integers(LAMPS))
        return np.eye(LAMPS)[self.lit], {}

    def step(self, action):
        reward = float(action == self.lit)
        self.step_number, self.lit = self.step_number + 1, int(self.np_random.integers(LAMPS))
        over = self.step_number == STEPS
        return np.eye(LAMPS)[self.lit], reward, over and not self.cut_off, over and self.cut_off, {}


@pytest.fixture(scope="module", autouse=True)
def lamps():
    gymnasium.register("Lamps-v0", Lamps)
    gymnasium.register("CutLamps-v0", lambda render_mode=None: Lamps(cut_off=True))
    yield
    for name in ("Lamps-v0", "CutLamps-v0"):
        gymnasium.registry.pop(name)


def job(schedule=SCHEDULE, **options):
    columns = {"observation": (LAMPS,), "units": (16,)}
    return train.plan("dqn_mlp", columns, "gym:Lamps-v0", schedule, OPTIONS | options)


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """An agent that learned to press the button of the lamp that is lit."""
    directory = ModelDir(tmp_path_factory.mktemp("agents") / "lamps")
    with directory.training_run():
        train.run(job(), directory)
    return directory


# --- networks


@pytest.mark.parametrize(("name", "actions", "parameters", "macs"), [
    ("dqn", 4, 1_686_180, 9_345_024), ("dqn", 6, 1_687_206, 9_346_048), ("dqn", 18, 1_693_362, 9_352_192),
    ("dqn_2013", 18, 680_770, 2_970_112), ("dqn_mlp", 2, 4 * 120 + 120 + 120 * 84 + 84 + 84 * 2 + 2, 10_728),
])  # fmt: skip
def test_networks_have_the_size_of_their_papers(name, actions, parameters, macs):
    """An independent count of the layers of Mnih et al. 2015 and 2013 for as many actions."""
    counted = complexity(cnn_app.create_model(name, classes=actions))
    assert (counted.trainable, counted.macs) == (parameters, macs)


@pytest.mark.parametrize(("columns", "told"), [
    ({"observation": (4,)}, "take dqn_mlp"), ({"observation": (20, 20, 4)}, "no map left"),
    ({"maps": (1,)}, "for each convolution"), ({"units": (0,)}, "one or more"),
])  # fmt: skip
def test_networks_that_cannot_be_built(columns, told):
    with pytest.raises(ModelError, match=told):
        cnn_app.create_model("dqn", **columns)


# --- replay


def test_frames_are_kept_once_and_found_again():
    """Frames 0, 1, ... of two episodes of three steps: stacks of three, the first frame again in front of itself."""
    replay = Replay(100, 1, (1, 1, 3), "uint8")
    number = 0
    for _ in range(2):
        first = number
        for age in range(3):
            stack = [max(first, number - back) for back in (2, 1, 0)]
            replay.add(0, age, np.array(stack, np.uint8).reshape(1, 1, 3), age, float(number), age == 2)
            number += 1
        replay.add(0, 3, np.full((1, 1, 3), number, np.uint8), NO_ACTION, 0.0, False)
        number += 1
    batch = replay.sample(np.random.default_rng(0), 200)
    steps = {int(reward): (seen.ravel().tolist(), after.ravel().tolist(), int(action), bool(over)) for reward, seen,
             after, action, over in zip(batch.rewards, batch.seen, batch.after, batch.actions, batch.terminated,
                                        strict=True)}  # fmt: skip
    assert steps == {
        0: ([0, 0, 0], [0, 0, 1], 0, False), 1: ([0, 0, 1], [0, 1, 2], 1, False), 2: ([0, 1, 2], [1, 2, 3], 2, True),
        4: ([4, 4, 4], [4, 4, 5], 0, False), 5: ([4, 4, 5], [4, 5, 6], 1, False), 6: ([4, 5, 6], [5, 6, 7], 2, True),
    }  # fmt: skip


def test_a_full_ring_forgets_the_oldest_and_never_mixes_it_in():
    replay = Replay(6, 1, (2,), "float32")
    for step in range(20):
        replay.add(0, step, np.full(2, step, np.float32), 1, float(step), False)
    batch = replay.sample(np.random.default_rng(0), 300)
    assert set(batch.rewards) == {14.0, 15.0, 16.0, 17.0, 18.0}  # 19 has nothing behind it yet
    np.testing.assert_array_equal(batch.after, batch.seen + 1)
    again = Replay(6, 1, (2,), "float32")
    again.restore(replay.state())
    np.testing.assert_array_equal(again.sample(np.random.default_rng(1), 50).seen,
                                  replay.sample(np.random.default_rng(1), 50).seen)  # fmt: skip


def test_a_replay_larger_than_memory_is_told(monkeypatch):
    monkeypatch.setattr("cnn_app.data.memory.available", lambda: 2**20)
    with pytest.raises(TrainingError, match="1,000,000 steps takes 6.6 GiB"):
        Replay(1_000_000, 1, (84, 84, 4), "uint8")


# --- what is learned towards


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("cut_off", [False, True])
def test_targets_by_hand(double, cut_off):
    """Reward and half the value of the next observation, unless the episode was over; a time limit is not its end."""
    task = Control(input=Observation((LAMPS,)), labels=("0", "1", "2"), double=double,
                   environment="gym:CutLamps-v0" if cut_off else "gym:Lamps-v0", **OPTIONS)  # fmt: skip
    model = cnn_app.create_model("dqn_mlp", observation=(LAMPS,), units=(), classes=LAMPS)
    older, newer = np.array([[1, 2, 3], [6, 5, 4], [0, 9, 0]], np.float32), np.eye(LAMPS, dtype=np.float32)
    model.get_layer("logits").set_weights([older, np.zeros(LAMPS)])
    stream = Interaction(task, model, replace(SCHEDULE, batch=64))
    batches = stream.batches(0)
    next(batches)
    model.get_layer("logits").set_weights([newer, np.zeros(LAMPS)])
    _, targets = next(batches)
    batch = stream.replay.sample(np.random.default_rng([SCHEDULE.seed, 1, 1]), 64)
    for action, value, reward, after, over in zip(targets["action"], targets["value"], batch.rewards, batch.after,
                                                  batch.terminated, strict=True):  # fmt: skip
        lit = int(after.argmax())
        best = older[lit][lit] if double else older[lit].max()
        assert value == pytest.approx(reward + 0.5 * best * (not over))
        assert action in range(LAMPS)
    assert batch.terminated.any() != cut_off


def test_huber_loss_and_what_is_known():
    task, values = Control(input=Observation((LAMPS,))), np.array([[1.0, 5.0], [2.0, 0.0], [0.05, 9.0]], np.float32)
    targets = {"action": np.array([1, 0, 0]), "value": np.array([2.0, 1.5, 0.0], np.float32)}
    loss = task.objective(SCHEDULE, None)(values, targets)
    np.testing.assert_allclose(loss, [3 - 0.5, 0.5 * 0.5**2, 0.5 * 0.05**2], rtol=1e-5)
    np.testing.assert_array_equal(task.step_metrics(values, targets)["known"], [0, 0, 1])
    loss = replace(task, huber=2.0).objective(SCHEDULE, None)(values, targets)
    np.testing.assert_allclose(loss, [2 * (3 - 1), 0.5 * 0.5**2, 0.5 * 0.05**2], rtol=1e-5)
    with pytest.raises(RecipeError, match="huber of control is a number above 0, received 0"):
        replace(task, huber=0)


def test_epsilon_falls_over_the_first_part_of_a_training():
    task = Control(input=Observation((LAMPS,)), steps=100, exploration=0.5, epsilon=0.1)
    stream = Interaction(task, cnn_app.create_model("dqn_mlp"), replace(SCHEDULE, epochs=4))
    assert [round(stream._epsilon(step), 3) for step in (0, 100, 200, 399)] == [1.0, 0.55, 0.1, 0.1]


# --- a training


def test_it_learns_what_a_random_agent_does_not(agent):
    found = agent.read_card().metrics["test"]
    assert found["return"] == STEPS and found["n"] == 100  # a third of it by chance
    assert agent.read_card().options["environment"] == "gym:Lamps-v0" and agent.read_card().labels == ("0", "1", "2")


@pytest.mark.parametrize("stop_at", [25, 60, 83])
def test_resume_gives_the_same_result_bit_for_bit(agent, tmp_path, stop_at):
    """Stopped within an epoch, between two, and in the second; with the replay and all that was done since."""
    directory = ModelDir(tmp_path / "lamps")

    def stop(epoch, done, steps, logs):
        if epoch * steps + done == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match=f"after step {stop_at}; .*--resume"):
        train.run(job(), directory, watch=engine.Watch(step=stop))
    train.run(job(), directory, resume=True)
    for ours, theirs in zip(*(keras.saving.load_model(one.model).get_weights() for one in (directory, agent)),
                            strict=True):  # fmt: skip
        np.testing.assert_array_equal(ours, theirs)
    assert directory.history.read_text() == agent.history.read_text()


def test_a_batch_is_memorised_and_a_dry_run_writes_nothing():
    assert rehearsal.memorise(job(replace(SCHEDULE, lr=0.005)))["known"] >= 0.9
    looked = rehearsal.dry_run(job())
    assert looked["steps_per_epoch"] == 60 and np.isfinite(looked["first_loss"])


# --- files


def test_every_format_acts_alike(agent):
    task, dataset = sources.for_model(agent, None)
    targets = ("saved_model", "tflite-float32", "tflite-int8", "onnx")
    results = export(agent, Export(targets=targets, max_drop=0.0), task, dataset)
    assert [(one.metric, one.value, one.agreement) for one in results] == [("return", STEPS, 1.0)] * 4
    file = interpreter_class()(model_path=str(next(agent.mobile.glob("*-int8.tflite"))))
    operators = [one["op_name"] for one in file._get_ops_details() if one["op_name"] != "DELEGATE"]
    assert operators == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "FULLY_CONNECTED"]  # values are not rounded
    onnx = next(agent.onnx.glob("*.onnx"))
    assert evaluate(onnx, "gym:Lamps-v0").report.metrics["return"] == STEPS
    with pytest.raises(ModelError, match="evaluate them apart"):
        evaluate([onnx, agent.path], "gym:Lamps-v0")
    served = open_model(next(agent.serving.glob("*/saved_model.pb")).parent)
    seen = np.eye(LAMPS, dtype=np.float32)
    assert served.run({"observation": seen})["values"].argmax(-1).tolist() == [0, 1, 2]


def test_a_saved_model_takes_bytes_and_names_the_action(agent, tmp_path):
    import tensorflow as tf

    task, dataset = sources.for_model(agent, None)
    if not agent.serving.is_dir():
        export(agent, Export(targets=("saved_model",)), task, dataset)
    module = tf.saved_model.load(str(next(agent.serving.glob("*/saved_model.pb")).parent))
    data = task.input.encode({"observation": np.eye(LAMPS, dtype=np.float32)[2]})
    found = module.signatures["observation_bytes"](observation_bytes=tf.constant([data, data]))
    assert found["best"].numpy().tolist() == [b"2", b"2"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        module.signatures["observation_bytes"](observation_bytes=tf.constant([data[:8], data[:4]]))


def test_an_agent_whose_actions_are_worse_is_refused_by_percent_of_its_return(agent):
    from cnn_app import tasks

    task, _ = sources.for_model(agent, None)
    assert tasks.drop(task, {"return": 200.0}, {"return": 190.0}) == pytest.approx(5.0)
    assert tasks.drop(task, {"return": -10.0}, {"return": -12.0}) == pytest.approx(20.0)
    assert tasks.told_drop(task, 5.0) == "loses 5.00 % of return"


def test_observations_are_read_from_files(agent, tmp_path):
    np.save(tmp_path / "seen.npy", np.eye(LAMPS)[1].astype(np.float32))
    (tmp_path / "raw.npy").write_bytes(np.eye(LAMPS, dtype="<f4")[2].tobytes())
    np.save(tmp_path / "wrong.npy", np.zeros(2, np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    names = ("seen", "raw", "wrong", "objects")
    found = CliRunner().invoke(
        cli, ["predict", str(agent.path), "--json", *(str(tmp_path / f"{one}.npy") for one in names)]
    )
    assert [row["action"] for row in json.loads(found.stdout)] == ["1", "2"] and found.exit_code == 1
    assert "float32 (2,) is no observation, 12 bytes" in found.output and "damaged" in found.output


# --- environments


def test_catch_can_be_won_and_is_lost_at_random():
    """A paddle that goes to where the ball falls catches every one; a ball at a border is missed by one that stays."""
    board = environments.make("catch")
    totals = []
    for seed in range(20):
        seen, _ = board.reset(seed=seed)
        assert seen.shape == (84, 84, 4) and (seen[..., 0] == seen[..., 3]).all()
        over, total = False, 0.0
        while not over:
            ball, paddle = (np.argwhere(seen[..., -1] == grey)[:, 1].mean() for grey in (255, 128))
            seen, reward, over, *_ = board.step(1 + int(np.sign(round((ball - paddle) / 4))))
            total += reward
        totals.append(total)
    assert totals == [1.0] * 20
    board.reset(seed=0)
    board.unwrapped.column = 0
    assert [board.step(1)[1] for _ in range(20)] == [0.0] * 19 + [-1.0]


def test_atari_is_seen_as_in_the_paper():
    """Each pixel is the larger of the last two of four frames; a grey square of half the frame keeps its share."""
    pytest.importorskip("ale_py")
    pong = environments.make("gym:ALE/Pong-v5")
    seen, _ = pong.reset(seed=1)
    again, *_ = pong.step(0)
    assert seen.shape == (84, 84, 4) and seen.dtype == np.uint8 and seen.max() > 150
    np.testing.assert_array_equal(again[..., :3], seen[..., 1:])
    assert environments.actions(pong)[:2] == ("noop", "fire")
    frame = np.zeros((210, 160), np.uint8)
    frame[:, :80] = 100
    np.testing.assert_array_equal(frames.shrunk(frame), np.repeat([[100, 0]], 42, 1).repeat(84, 0))


@pytest.mark.parametrize(("source", "told"), [
    ("gym:Nothing-v0", "cannot make gym:Nothing-v0"), ("gym:os:system", "no name of an environment"),
    ("gym:", "no name"), ("gym:Pendulum-v1", "Discrete"), ("gym:FrozenLake-v1", "vector of numbers"),
    ("digits", "is no environment"), ("somewhere", "is no environment"),
])  # fmt: skip
def test_what_is_no_environment(source, told):
    with pytest.raises(DataError, match=told):
        train.build("dqn_mlp", {}, source, SCHEDULE)


def test_what_does_not_fit(agent, monkeypatch):
    with pytest.raises(DataError, match=r"shows float32 \(4,\), the network takes uint8 \(84, 84, 4\)"):
        train.build("dqn", {}, "gym:CartPole-v1", SCHEDULE)
    with pytest.raises(DataError, match="acts in gym:Lamps-v0, received gym:CartPole-v1"):
        evaluate(agent.path, "gym:CartPole-v1")
    with pytest.raises(RecipeError, match="gamma of control is a share from 0 to 1, received 2"):
        train.build("dqn_mlp", {}, "gym:CartPole-v1", SCHEDULE, {"gamma": 2})
    with pytest.raises(RecipeError, match="fewer than the 1,000 at random"):
        train.build("dqn_mlp", {}, "gym:CartPole-v1", SCHEDULE, {"replay": 10})
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(DataError, match=r"needs Gymnasium; pip install 'cnn-app\[rl\]'"):
        environments.load(Data(source="gym:CartPole-v1"))


# --- what it does


def test_an_episode_is_played_and_filmed(tmp_path):
    """A network without weights to speak of always goes left: it catches what falls near the left border."""
    directory = tmp_path / "catch"
    schedule = Schedule(epochs=1, batch=4, lr=0.0, warmup=0.0, augment=())
    train.train("dqn", "catch", directory, columns={"maps": (2,), "kernels": (8,), "strides": (8,), "units": (4,)},
                task={"steps": 1, "random": 4, "envs": 1, "replay": 50}, schedule=schedule)  # fmt: skip
    result = CliRunner().invoke(
        cli, ["play", str(directory), "--episodes", "3", "--json", "--out", str(tmp_path / "a.gif")]
    )
    found = json.loads(result.stdout)
    assert [one["seed"] for one in found["episodes"]] == [0, 1, 2] and {one["length"] for one in found["episodes"]} == {
        20
    }
    assert found["return"] == pytest.approx(np.mean([one["total"] for one in found["episodes"]]))
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.size, film.n_frames) == ((168, 168), 21)
        film.seek(20)
        last = np.asarray(film.convert("L"))
    assert (last[-4:] > 100).any() and (last[:4] == 0).all()  # paddle and ball are at the bottom


def test_play_refuses_other_networks(tmp_path):
    with pytest.raises(ModelError, match="is for classification and acts nowhere"):
        played(cnn_app.create_model("lenet5"))


def test_pictures_of_returns_and_values(agent, tmp_path):
    report = evaluate(agent.path, "gym:Lamps-v0", "val").report
    report.draw(tmp_path / "returns.png")
    np.save(tmp_path / "seen.npy", np.eye(LAMPS)[1].astype(np.float32))
    result = CliRunner().invoke(cli, ["predict", str(agent.path), str(tmp_path / "seen.npy"), "--draw", str(tmp_path)])
    assert result.exit_code == 0, result.output
    pictures = sorted(tmp_path.glob("*.png"))
    assert len(pictures) == 2 and all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    with pytest.raises(ModelError, match="cnn-app play"):
        report.mistakes(1)
    (columns, rows), *_ = report.tables()
    assert rows[0] == ("return", *["5"] * 5) and columns[-1] == ">most"
