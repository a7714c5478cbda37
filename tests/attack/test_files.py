"""Files that were made to do harm: each is refused in one line, and what it was made for does not happen."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner
from onnx import TensorProto, helper

import cnn_app
from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.errors import ArtifactError, ModelError, printable
from cnn_app.export import metadata
from cnn_app.inputs.image import Image
from cnn_app.runtimes import isolated, keras_archive, open_foreign, open_model
from cnn_app.runtimes.about import About
from cnn_app.runtimes.operators import check_saved_model
from cnn_app.transfer.pretrained import files

COMPAT = Path(__file__).parents[1] / "compat" / "store"
SIDE = 8


def line(*arguments):
    """The one line on stderr of a command that fails."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, result.output
    assert result.stdout == ""
    return result.stderr


@pytest.fixture
def image(tmp_path):
    (tmp_path / "red.png").write_bytes(served.png(served.one_colour("red")))
    return tmp_path / "red.png"


# --- .tflite and .onnx, in a child


def network(path, nodes, *tensors, domains=("",)):
    """An ONNX file of a classifier of three colours, with `nodes` behind its scores."""
    scores = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Softmax", ["mean"], ["scores"]),
    ]
    graph = helper.make_graph(
        [*scores, *nodes], "colours",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])], list(tensors),
    )  # fmt: skip
    imports = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in domains]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


def plain(path):
    return network(path, [helper.make_node("Identity", ["scores"], ["probabilities"])])


def hungry(path):
    """Of a few hundred bytes that add up 16 GiB."""
    size = helper.make_tensor("size", TensorProto.INT64, [1], [2**32])
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
             helper.make_node("Add", ["zeros", "half"], ["much"]),
             helper.make_node("ReduceMax", ["much"], ["most"], keepdims=0),
             helper.make_node("Add", ["scores", "most"], ["probabilities"])]  # fmt: skip
    return network(path, nodes, size, helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]))


@pytest.mark.parametrize("file", ["mobile/shapes-float32.tflite", "onnx/shapes.onnx"])
def test_a_child_gives_what_the_file_gives_here(file):
    found = sorted((COMPAT / "shapes" / file).parent.glob(f"*{Path(file).suffix}"))[0]
    here, there = open_model(found), open_foreign(found)
    assert isinstance(there, isolated.IsolatedRuntime) and not isinstance(here, isolated.IsolatedRuntime)
    assert (here.inputs, here.outputs, here.about) == (there.inputs, there.outputs, there.about)
    (name, spec), *_ = here.inputs.items()
    records = {name: np.random.default_rng(0).integers(0, 256, (19, *spec.shape[1:])).astype(spec.dtype)}
    for key, array in here.run(records).items():
        np.testing.assert_array_equal(there.run(records)[key], array)
    assert type(open_foreign(found, trust=True)) is type(here)


@pytest.mark.parametrize("command", ["predict", "evaluate", "benchmark"])
def test_a_file_that_wants_all_memory_is_refused(tmp_path, image, command):
    file = hungry(tmp_path / "x.onnx")
    rest = {"predict": [image], "evaluate": ["--data", "digits"], "benchmark": []}[command]
    if command == "evaluate":
        (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
        folder = tmp_path / "photos"
        for label in served.LABELS:
            for split in ("train", "val", "test"):
                (folder / split / label).mkdir(parents=True)
                shutil.copy(image, folder / split / label)
        rest = ["--data", folder, "--labels", tmp_path / "labels.txt"]
    assert f"cannot run {file}" in line(command, file, *rest)


def test_a_file_that_takes_too_long_is_refused(tmp_path, image, monkeypatch):
    monkeypatch.setattr(isolated, "SECONDS", 0.01)  # the start of an interpreter takes longer
    told = line("predict", plain(tmp_path / "x.onnx"), image)
    assert "it took more than 0.01 s" in told and "--trust runs it without limits" in told
    assert CliRunner().invoke(cli, ["predict", "--trust", str(tmp_path / "x.onnx"), str(image)]).exit_code == 0


def test_operators_beside_the_file_are_refused(tmp_path, image):
    nodes = [helper.make_node("Exec", ["scores"], ["probabilities"], domain="evil")]
    file = network(tmp_path / "x.onnx", nodes, domains=("", "evil"))
    assert "has the operator Exec of 'evil', which is code beside the file" in line("predict", file, image)
    then = helper.make_graph(nodes, "then", [], [helper.make_tensor_value_info("probabilities", 1, None)])
    inside = [helper.make_node("If", ["yes"], ["probabilities"], then_branch=then, else_branch=then)]
    yes = helper.make_tensor("yes", TensorProto.BOOL, [1], [True])
    assert "'evil'" in line("predict", network(tmp_path / "x.onnx", inside, yes, domains=("", "evil")), image)


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/passwd"])
def test_tensors_outside_of_the_folder_are_refused(tmp_path, image, place):
    (tmp_path / "outside.bin").write_bytes(bytes(12))
    tensor = TensorProto(name="bias", data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    (tmp_path / "in").mkdir()
    file = network(tmp_path / "in" / "x.onnx", [helper.make_node("Add", ["scores", "bias"], ["probabilities"])], tensor)
    assert f"has tensors in {place!r}, which is outside of its folder" in line("predict", file, image)


def test_what_a_child_sends_is_read_with_care():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), np.uint8), "c": np.array(True)}
    found = isolated.unpacked(isolated.packed(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    for header in (b"{", b"[]", b'{"a": 1}', b'{"a": ["|O", [1]]}', b'{"a": ["<f4", [-1]]}', b'{"a": ["<f4", [9]]}',
                   b'{"a": ["<f4", [true]]}', b'{"a": ["no", [1]]}', b"[" * 10**5):  # fmt: skip
        with pytest.raises(ArtifactError, match="damaged"):
            isolated.unpacked(isolated.LENGTH.pack(len(header)) + header + bytes(8))
    with pytest.raises(ArtifactError, match="is of texts"):
        isolated.packed({"a": np.array(["x"], object)})


# --- SavedModels


def saved(path, extra, about=True):
    """A SavedModel of a classifier of three colours, whose signature also does `extra`."""
    module = tf.Module()
    module.kept = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")])
    def serve(image):
        with tf.control_dependencies([extra(module)]):
            return {"probabilities": tf.nn.softmax(tf.reduce_mean(tf.cast(image, tf.float32), (1, 2))) * module.kept}

    module.serve = serve
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    metadata.attach(path, About(task="classification", input=Image((SIDE, SIDE, 3)).facts(), labels=served.LABELS))
    return path


def test_graphs_that_reach_files_are_refused_and_run_for_those_who_trust_them(tmp_path, image):
    place = str(tmp_path / "written")
    raw = tf.raw_ops
    cases = {
        "WriteFile": lambda module: raw.WriteFile(filename=place, contents="x"),
        "ReadFile": lambda module: raw.ReadFile(filename=str(image)),
        "MatchingFiles": lambda module: raw.MatchingFiles(pattern="/*"),
        "PrintV2": lambda module: tf.print("x", output_stream=f"file://{place}"),
        "SaveV2": lambda module: raw.SaveV2(prefix=place, tensor_names=["a"], shape_and_slices=[""], tensors=[1.0]),
        "PyFunc": lambda module: tf.py_function(lambda: 1, [], tf.int32),
        "PyFuncStateless": lambda module: tf.numpy_function(lambda: np.int32(1), [], tf.int32, stateful=False),
        "Dataset": lambda module: tf.data.TextLineDataset(str(image)).reduce(0, lambda n, _: n + 1),
        "ImmutableConst": lambda module: raw.ImmutableConst(dtype=tf.uint8, shape=[1], memory_region_name=str(image)),
    }
    for name, extra in cases.items():
        told = line("predict", saved(tmp_path / name, extra), image)
        assert re.search(rf"has the operator \w*{name}\b.* may reach .* --trust runs it all the same", told)
        assert not Path(place).exists() and not list(tmp_path.glob("written*"))
    trusted = CliRunner().invoke(cli, ["predict", "--trust", str(tmp_path / "WriteFile"), str(image)])
    assert trusted.exit_code == 0 and Path(place).read_text() == "x"


def test_a_table_is_filled_from_assets_alone(tmp_path):
    def looked_up(file):
        lines = tf.lookup.TextFileInitializer(file, tf.int64, 1 - 2, tf.string, -2)
        return tf.lookup.StaticHashTable(lines, "")

    class Tables(tf.Module):
        def __init__(self):
            self.own = looked_up(str(tmp_path / "labels.txt"))

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, name="number")])
        def name_of(self, number):
            return {"name": self.own.lookup(number)}

    (tmp_path / "labels.txt").write_text("a\nb\n")
    module = Tables()
    tf.saved_model.save(module, str(tmp_path / "good"), signatures={"serving_default": module.name_of})
    check_saved_model(tmp_path / "good")
    evil = shutil.copytree(tmp_path / "good", tmp_path / "evil")
    (evil / "assets" / "labels.txt").unlink()
    (evil / "assets" / "labels.txt").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="reads 'labels.txt', which is outside of it"):
        check_saved_model(evil)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, name="number")])
    def passwd(number):
        table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.string)
        filled = tf.raw_ops.InitializeTableFromTextFileV2(table_handle=table, filename="/etc/passwd", key_index=-1,
                                                          value_index=-2)  # fmt: skip
        with tf.control_dependencies([filled]):
            return {"name": tf.raw_ops.LookupTableFindV2(table_handle=table, keys=number, default_value="")}

    module.passwd = passwd
    tf.saved_model.save(module, str(tmp_path / "passwd"), signatures={"serving_default": passwd})
    with pytest.raises(ArtifactError, match="fills a table from a file that is none of its assets"):
        check_saved_model(tmp_path / "passwd")


def test_what_restores_must_not_write(tmp_path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    served.half_plus_two(tmp_path, 1)
    file = tmp_path / "1" / "saved_model.pb"
    check_saved_model(file.parent)
    proto = SavedModel.FromString(file.read_bytes())
    saver = proto.meta_graphs[0].saver_def
    saver.restore_op_name = saver.save_tensor_name.partition(":")[0]
    file.write_bytes(proto.SerializeToString())
    with pytest.raises(ArtifactError, match="has the operator (SaveV2|MergeV2Checkpoints) where none of its own"):
        check_saved_model(file.parent)


@pytest.mark.slow
def test_our_own_are_accepted(tmp_path):
    for place in COMPAT.rglob("saved_model.pb"):
        check_saved_model(place.parent)
    served.moods(tmp_path / "moods")
    served.masks(tmp_path / "masks")
    for name in ("moods", "masks"):
        check_saved_model(tmp_path / name / "1")
    for number, (task, model) in enumerate([served.unet(), served.text_cnn()]):
        check_saved_model(served.export(task, model, tmp_path / str(number)))


# --- .keras


@pytest.fixture
def archive(tmp_path):
    """The members of a small network's file, to be changed."""
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2, name="logits")(inputs)).save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as stored:
        return {name: stored.read(name) for name in stored.namelist()}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stored:
        for name, data in members.items():
            stored.writestr(name, data)
    return path


def refused(path):
    with pytest.raises(ArtifactError) as caught:
        cnn_app.load_model(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def weights(**options):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as stored:
        stored.create_dataset("layers/logits/vars/0", **options)
    return stream.getvalue()


def test_what_unpacks_to_too_much_is_refused(archive, tmp_path):
    bomb = zipped(tmp_path / "x.keras", archive | {"assets/zeros": bytes(keras_archive.FREE_BYTES + 1)})
    assert bomb.stat().st_size < 2**20 and "declares 256 MiB assets/zeros, more than 16 GiB" in refused(bomb)
    half = bytes(keras_archive.FREE_BYTES // 2)
    parts = zipped(tmp_path / "x.keras", archive | {"assets/a": half, "assets/b": half})
    assert "declares 256 MiB in all" in refused(parts)
    declared = weights(shape=(10**5, 10**5), dtype="f4", chunks=(1000, 1000), compression="gzip")
    assert "declares 38,147 MiB of weights in model.weights.h5" in refused(
        zipped(tmp_path / "x.keras", archive | {"model.weights.h5": declared})
    )


@pytest.mark.parametrize("deep", [b"[" * 10**6 + b"]" * 10**6, b'{"a":' * 500 + b"1" + b"}" * 500])
def test_deep_json_is_refused(archive, tmp_path, deep):
    for name in ("config.json", "metadata.json"):
        found = refused(zipped(tmp_path / "x.keras", archive | {name: deep}))
        assert f"{name} is nested deeper than 200" in found and "--trust" in found


def test_layers_larger_than_their_weights_are_refused(archive, tmp_path):
    config = json.loads(archive["config.json"])
    (dense,) = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense"]
    dense["config"]["units"] = 10**10
    changed = archive | {"config.json": json.dumps(config)}
    assert "layers with more weights than the 1,048,586 that it holds" in refused(zipped(tmp_path / "x.keras", changed))
    dense["config"]["units"] = 10**40
    refused(zipped(tmp_path / "x.keras", archive | {"config.json": json.dumps(config)}))


def test_damage_is_told_in_a_line(archive, tmp_path):
    changes = [{"config.json": b"[]"}, {"config.json": b"{}"}, {"config.json": b"\xff"}, {"model.weights.h5": b"no"}]
    for members in ({}, *(archive | change for change in changes)):
        refused(zipped(tmp_path / "x.keras", members))


@pytest.mark.parametrize("ending", [".h5", ".npz"])
def test_published_weights_that_unpack_to_too_much_are_refused(tmp_path, ending):
    file = tmp_path / f"x{ending}"
    if ending == ".h5":
        file.write_bytes(weights(shape=(10**4, 10**4), dtype="f4", chunks=(1000, 1000), compression="gzip"))
    else:
        np.savez_compressed(file, kernel=np.zeros(keras_archive.FREE_BYTES + 1, np.uint8))
    with pytest.raises(ModelError, match="MiB, more than 256 MiB and 100 times the file; save it without compression"):
        files.read(file)


# --- cards and what is printed


SIZES = [{"input": {"kind": "image", "image": [side, SIDE, 3]}} for side in (-1, 0)]


@pytest.mark.parametrize("change, told", [({"labels": []}, "names no classes"), ({"labels": ["a", ""]}, "by nothing"),
                                          (SIZES[0], "is no card"), (SIZES[1], "is no card")])  # fmt: skip
def test_cards_without_sense_are_refused(tmp_path, change, told):
    served.model_dir(tmp_path / "m")
    card = tmp_path / "m" / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(ArtifactError, match=told):
        tasks.of_card(ModelDir(tmp_path / "m").read_card())


def test_a_terminal_obeys_neither_labels_nor_names(tmp_path, image):
    evil = "\x1b]0;owned\x07\x1b[31mred\u202e"
    path = tmp_path / "1"
    saved(path, lambda module: tf.no_op())
    metadata.attach(path, About(task="classification", input=Image((SIDE, SIDE, 3)).facts(),
                                labels=(evil, "green", "blue")))  # fmt: skip
    picture = tmp_path / "\x1b[2Jred.png"
    shutil.copy(image, picture)
    found = CliRunner().invoke(cli, ["predict", str(path), str(picture), str(tmp_path / "\x1bnone.png")])
    assert "\x1b" not in found.output and "\x07" not in found.output and "\u202e" not in found.output
    assert printable(evil) == r"\x1b]0;owned\x07\x1b[31mred\u202e" and printable(evil) in found.stdout
    told = CliRunner().invoke(cli, ["predict", str(path), str(picture), "--json"]).stdout
    assert "\x1b" not in told and "\u202e" not in told and json.loads(told)[0]["top"][0]["label"] == evil


def test_onnx_is_what_the_tests_take_it_for(tmp_path):
    onnx.checker.check_model(onnx.load(plain(tmp_path / "x.onnx")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["card", "about", "recipe", "picture"]
                         + [pytest.param(kind, marks=pytest.mark.slow) for kind in ("tflite", "onnx", "keras",
                                                                                    "saved_model")])  # fmt: skip
def test_files_with_errors_are_accepted_or_refused(kind, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import fuzz_files

    found = fuzz_files.run(kind, 40, 3, tmp_path, None)
    assert set(found) == {"accepted", "refused"} and found.total() == 40
