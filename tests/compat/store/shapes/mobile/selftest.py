"""Does this machine compute what was exported? `python selftest.py photos-int8.tflite`.

It needs NumPy and an interpreter, and the file's golden answers beside it.
"""

import sys

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter


def main(path):
    golden = np.load(path.removesuffix(".tflite") + ".golden.npz")
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scores = []
    for picture in golden["pictures"]:
        interpreter.set_tensor(source["index"], picture[None].astype(source["dtype"]))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(result["index"])[0])
    difference = float(np.abs(scores - golden["scores"]).max())
    same = np.array_equal(np.argmax(scores, 1), golden["scores"].argmax(1))
    passed = difference <= golden["tolerance"]
    answers, result = "same" if same else "OTHER", "passed" if passed else "FAILED"
    print(f"{path}: {len(scores)} pictures, largest difference {difference:.1e}, {answers} answers, {result}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(max([main(path) for path in sys.argv[1:]], default=2))
