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
    golden = dict(np.load(path.removesuffix(".tflite") + ".golden.npz"))
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    known = interpreter._get_full_signature_list()
    signature = next(iter(known.values()))
    details = {tensor["index"]: tensor for tensor in interpreter.get_input_details() + interpreter.get_output_details()}
    taken = {name: details[place] for name, place in signature["inputs"].items()}
    given = {name: details[place] for name, place in signature["outputs"].items()}
    if "pictures" in golden:  # of 0.1.0
        golden["input/" + next(iter(taken))], golden["output/" + next(iter(given))] = (
            golden["pictures"],
            golden["scores"],
        )
    count, worst = 0, 0.0
    for count in range(1, len(golden["input/" + next(iter(taken))]) + 1):
        for name, tensor in taken.items():
            record = golden["input/" + name][count - 1 : count]
            interpreter.set_tensor(tensor["index"], record.astype(tensor["dtype"]))
        interpreter.invoke()
        for name, tensor in given.items():
            wanted = golden["output/" + name][count - 1 : count]
            difference = np.abs(interpreter.get_tensor(tensor["index"]).astype(np.float64) - wanted).max()
            worst = max(worst, float(difference))
    passed = worst <= golden["tolerance"]
    print(f"{path}: {count} records, largest difference {worst:.1e}, {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(max([main(path) for path in sys.argv[1:]], default=2))
