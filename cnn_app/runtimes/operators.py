"""What the graph of a SavedModel may do: compute from its inputs, its own variables and its own assets.

TensorFlow runs a graph with the rights of its process: ReadFile, WriteFile, readers and data sets reach every file,
others the network, devices or Python. So a graph from elsewhere may have the registered operators that keep no state,
but for those in REFUSED, and of those with state what STATEFUL lists. What a later TensorFlow adds with state is so
refused before anybody has looked at it. Three need a closer look:

- a checkpoint is read where variables are restored, and written by nothing that is ever run (SAVERS);
- a table is filled from a file that is an asset of the SavedModel (TABLES);
- Print may write to the streams of the process, not to a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from cnn_app.errors import ArtifactError

MAX_GRAPH_BYTES = 512 * 2**20
INSTEAD = "where you know who made it, --trust runs it all the same"

REFUSED = re.compile(  # of operators without state
    r"^_"  # TensorFlow's own, which no file has
    r"|Dataset|Snapshot|Reader|^(ReadFile|MatchingFiles|ImmutableConst|GenerateVocabRemapping)$"  # files
    r"|^(EncodeProto|DecodeProtoV2)$"  # whose descriptions may lie in any file
    r"|PyFunc|^Abort$"  # the process
    r"|Debug|Dump|^Copy(Host)?$|Remote"  # files and the network
    r"|Xla|Mlir|TPU|Tpu|DTensor|^(Infeed|Prelinearize|Relayout|CopyToMesh)|SparseCore"  # compilers and devices
)
STATEFUL = re.compile(
    r"(VarHandleOp|ReadVariableOp|Assign(Add|Sub)?VariableOp|VarIsInitializedOp|VariableShape|Variable(V2)?"
    r"|TemporaryVariable|DestroyResourceOp|DisableCopyOnRead|Resource(Gather(Nd)?|Scatter\w+|StridedSliceAssign)"
    r"|(Mutable(Dense)?|Anonymous(Mutable(Dense)?)?)?HashTable(OfTensors)?(V2)?|InitializeTable(FromTextFile)?V2"
    r"|LookupTable(Find|Insert|Remove|Size|Export|Import)V2|TensorArray\w*|Stack(Push|Pop|Close)?(V2)?"
    r"|StatefulPartitionedCall|If|While|Case|Assert|Print(V2)?|GuaranteeConst|CheckNumerics(V2)?|Empty|DeepCopy"
    r"|Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|Poisson(V2)?|Crop)|Multinomial|TruncatedNormal"
    r"|ParameterizedTruncatedNormal|NonDeterministicInts|Stateful(Uniform|UniformInt|UniformFullInt|StandardNormal(V2)?"
    r"|TruncatedNormal|RandomBinomial)|Rng(Skip|ReadAndSkip)|StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?)"
)
RESTORERS = {"Restore", "RestoreSlice", "RestoreV2"}
SAVERS = RESTORERS | {"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"}
TABLES = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
STREAMS = {"", "stderr", "stdout", "log(info)", "log(warning)", "log(error)"}
STRING = 7  # TensorFlow's number for the type
MAIN = ""  # the graph outside of functions


def check_saved_model(path: Path) -> None:
    """Raise ArtifactError where a graph in the directory `path` could do more; nothing is loaded for it."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = path / "saved_model.pb"
    if file.stat().st_size > MAX_GRAPH_BYTES:
        raise ArtifactError(f"{file} is larger than {MAX_GRAPH_BYTES >> 20} MiB; {INSTEAD}")
    try:
        for meta in SavedModel.FromString(file.read_bytes()).meta_graphs:
            _Graphs(meta, path).check()
    except (DecodeError, IndexError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} is damaged: {str(error)[:200]}; copy it again") from error


class _Graphs:
    """A graph and the functions that it has along."""

    def __init__(self, meta, path: Path):
        self.meta, self.path = meta, path
        self.functions = {function.signature.name: function for function in meta.graph_def.library.function}
        self.bodies = {name: list(function.node_def) for name, function in self.functions.items()}
        self.bodies[MAIN] = list(meta.graph_def.node)
        self.nodes = {name: {node.name: node for node in body} for name, body in self.bodies.items()}
        self.assets = {_node(asset.tensor_info.name) for asset in meta.asset_file_def}
        self.callers: dict[str, list] = {}
        for name, body in self.bodies.items():
            for node in body:
                for called in self._calls(node):
                    self.callers.setdefault(called, []).append((name, node))
        self.texts = [(name, node.input[1]) for name, body in self.bodies.items() for node in body
                      if node.op == "AssignVariableOp" and node.attr["dtype"].type == STRING]  # fmt: skip

    def check(self) -> None:
        for name, body in self.bodies.items():
            for node in body:
                self._check_operator(name, node)
        restore = self._reached([self.meta.saver_def.restore_op_name], ())
        self._check_savers(restore, SAVERS - RESTORERS)
        self._check_savers(self._reached(self._called(), self.meta.object_graph_def.concrete_functions), SAVERS)
        for asset in self.meta.asset_file_def:
            place, parts = self.path / "assets" / asset.filename, PurePosixPath(asset.filename).parts
            if ".." in parts or not place.resolve().is_relative_to(self.path.resolve()):
                raise ArtifactError(f"{self.path} reads {asset.filename!r}, which is outside of it; {INSTEAD}")
        seen: set[tuple[str, str]] = set()
        for name, body in self.bodies.items():
            for node in body:
                if node.op in TABLES and not self._is_asset(name, node.input[1], seen):
                    raise ArtifactError(f"{self.path} fills a table from a file that is none of its assets; {INSTEAD}")

    def _check_operator(self, body: str, node) -> None:
        from tensorflow.python.framework import op_def_registry

        if node.op in self.functions or node.op in SAVERS | TABLES:
            rule = body and node.op in SAVERS and "api_implements" in self.functions[body].attr  # may replace others
        else:
            known = op_def_registry.get(node.op)
            rule = known is None or not (STATEFUL.fullmatch(node.op) if known.is_stateful else not
                                         REFUSED.search(node.op))  # fmt: skip
            rule = rule or (
                node.op == "PrintV2" and node.attr["output_stream"].s.decode(errors="replace") not in STREAMS
            )
        if rule:
            raise ArtifactError(f"{self.path} has the operator {node.op}, which may reach beyond the model: files, the "
                                f"network or the process; {INSTEAD}")  # fmt: skip

    def _called(self) -> list[str]:
        """Tensors and operators outside of functions that loading or a signature asks for."""
        infos = (info for signature in self.meta.signature_def.values() for info in signature.outputs.values())
        found = [name for info in infos for name in _tensors(info)]
        return found + [name for kept in self.meta.collection_def.values() for name in kept.node_list.value]

    def _reached(self, tensors: Iterable[str], functions: Iterable[str]) -> Iterator:
        """Every node that they depend on."""
        waiting = [(MAIN, tensor) for tensor in tensors] + [(name, None) for name in functions]
        seen = set()
        while waiting:
            body, tensor = waiting.pop()
            names = self.nodes.get(body, {})
            for name in names if tensor is None else [_node(tensor)]:
                if (body, name) in seen or name not in names:
                    continue
                seen.add((body, name))
                node = names[name]
                yield node
                waiting += [(body, given) for given in node.input]
                waiting += [(function, None) for function in self._calls(node)]

    def _calls(self, node) -> list[str]:
        lists = (value.list.func for value in node.attr.values())
        named = [value.func.name for value in node.attr.values()] + [func.name for found in lists for func in found]
        return [name for name in (node.op, *named) if name in self.functions]

    def _check_savers(self, reached: Iterable, refused: set[str]) -> None:
        if bad := next((node.op for node in reached if node.op in refused), None):
            raise ArtifactError(f"{self.path} has the operator {bad} where none of its own checkpoints is restored, so "
                                f"it may reach other files; {INSTEAD}")  # fmt: skip

    def _is_asset(self, body: str, tensor: str, seen: set) -> bool:
        """Whether a file's name can only be that of an asset, whoever calls the function that it is in."""
        name = _node(tensor)
        if (body, name) in seen:
            return True
        seen.add((body, name))
        if body == MAIN and name in self.assets:
            return True
        node = self.nodes[body].get(name)
        if node is not None and node.op == "ReadVariableOp":  # TensorFlow lays assets there; which one is not followed
            return all(self._is_asset(other, kept, seen) for other, kept in self.texts)
        if node is not None:
            return node.op == "Identity" and self._is_asset(body, node.input[0], seen)
        taken = [arg.name for arg in self.functions[body].signature.input_arg] if body else []
        if name not in taken:
            return False
        place = taken.index(name)
        known = self.meta.object_graph_def
        if body in known.concrete_functions:
            bound = known.concrete_functions[body].bound_inputs
            first = len(taken) - len(bound)
            if place < first or known.nodes[bound[place - first]].WhichOneof("kind") != "asset":
                return False
        return all((caller.op == body or caller.op in ("PartitionedCall", "StatefulPartitionedCall"))
                   and self._is_asset(other, caller.input[place], seen)
                   for other, caller in self.callers.get(body, ()))  # fmt: skip


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _tensors(info) -> list[str]:
    """Names in a TensorInfo, which may be of several."""
    sparse, parts = info.coo_sparse, info.composite_tensor.components
    found = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [name for name in found if name] + [name for part in parts for name in _tensors(part)]
