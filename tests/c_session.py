"""A SavedModel behind TensorFlow's C API, which loads it with the C++ code that TF Serving has, and without Python."""

import ctypes
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

STRING = 7  # TF_DataType, as are these
NUMBERS = {1: np.float32, 3: np.int32, 4: np.uint8, 10: np.bool_}
TSTRING_BYTES = 24  # of TF_TString


class Output(ctypes.Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


RESULTS = {
    "TF_NewStatus": c_void_p, "TF_NewGraph": c_void_p, "TF_NewSessionOptions": c_void_p, "TF_Message": c_char_p,
    "TF_LoadSessionFromSavedModel": c_void_p, "TF_GraphOperationByName": c_void_p, "TF_AllocateTensor": c_void_p,
    "TF_TensorData": c_void_p, "TF_TensorType": c_int, "TF_NumDims": c_int, "TF_Dim": c_int64,
    "TF_TensorByteSize": c_size_t, "TF_StringGetDataPointer": c_void_p, "TF_StringGetSize": c_size_t,
}  # fmt: skip


class Session:
    """run("serving_default", image=array) -> {"probabilities": array, ...}."""

    def __init__(self, path):
        import tensorflow as tf
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        folder = Path(tf.__file__).parent
        self.library = ctypes.CDLL(str(next(folder.glob("libtensorflow_cc.so*"))))
        for name, kind in RESULTS.items():
            getattr(self.library, name).restype = kind
        self.signatures = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
        self.status, self.graph = c_void_p(self.library.TF_NewStatus()), c_void_p(self.library.TF_NewGraph())
        options, tags = c_void_p(self.library.TF_NewSessionOptions()), (c_char_p * 1)(b"serve")
        self.session = c_void_p(self.library.TF_LoadSessionFromSavedModel(
            options, None, str(path).encode(), tags, 1, self.graph, None, self.status))  # fmt: skip
        self.library.TF_DeleteSessionOptions(options)
        self.check()

    def check(self):
        assert self.library.TF_GetCode(self.status) == 0, self.library.TF_Message(self.status)

    def run(self, signature, **inputs):
        definition = self.signatures[signature]
        names = list(definition.outputs)
        places = [self.place(definition.inputs[name]) for name in inputs]
        wanted = [self.place(definition.outputs[name]) for name in names]
        given = [c_void_p(self.tensor(value)) for value in inputs.values()]
        results = (c_void_p * len(wanted))()
        self.library.TF_SessionRun(
            self.session, None, (Output * len(places))(*places), (c_void_p * len(given))(*given), c_int(len(given)),
            (Output * len(wanted))(*wanted), results, c_int(len(wanted)), None, c_int(0), None, self.status,
        )  # fmt: skip
        for tensor in given:
            self.library.TF_DeleteTensor(tensor)
        self.check()
        return {name: self.array(c_void_p(result)) for name, result in zip(names, results, strict=True)}

    def close(self):
        for function in ("TF_CloseSession", "TF_DeleteSession"):
            getattr(self.library, function)(self.session, self.status)
        self.library.TF_DeleteGraph(self.graph)
        self.check()
        self.library.TF_DeleteStatus(self.status)

    def place(self, info):
        operation, _, index = info.name.partition(":")
        found = self.library.TF_GraphOperationByName(self.graph, operation.encode())
        assert found, info.name
        return Output(found, int(index))

    def tensor(self, value):
        """An array of numbers, or a list of bytes."""
        texts = value if isinstance(value, list) else None
        shape = (len(value),) if texts else value.shape
        kind = STRING if texts else next(kind for kind, dtype in NUMBERS.items() if value.dtype == dtype)
        size = TSTRING_BYTES * len(value) if texts else value.nbytes
        dims = (c_int64 * len(shape))(*shape)
        tensor = self.library.TF_AllocateTensor(c_int(kind), dims, c_int(len(shape)), c_size_t(size))
        data = self.library.TF_TensorData(c_void_p(tensor))
        if not texts:
            ctypes.memmove(data, np.ascontiguousarray(value).ctypes.data, size)
        for i, text in enumerate(texts or ()):
            place = c_void_p(data + i * TSTRING_BYTES)
            self.library.TF_StringInit(place)
            self.library.TF_StringCopy(place, text, c_size_t(len(text)))
        return tensor

    def array(self, tensor):
        shape = [self.library.TF_Dim(tensor, i) for i in range(self.library.TF_NumDims(tensor))]
        data, kind = self.library.TF_TensorData(tensor), self.library.TF_TensorType(tensor)
        if kind == STRING:
            places = [c_void_p(data + i * TSTRING_BYTES) for i in range(int(np.prod(shape)))]
            flat = [ctypes.string_at(self.library.TF_StringGetDataPointer(place), self.library.TF_StringGetSize(place))
                    for place in places]  # fmt: skip
            found = np.array(flat, object)
        else:
            found = np.frombuffer(ctypes.string_at(data, self.library.TF_TensorByteSize(tensor)), NUMBERS[kind])
        self.library.TF_DeleteTensor(tensor)
        return found.reshape(shape)
