"""Our own names, and plain PyTorch definitions.

A sequence for LeNet-5; `stem`, `stage{k}` and `c1`, `b1`, ... for residual networks. Those say
nothing of their images' scaling: the model keeps its own.
"""

from cnn_app.transfer.pretrained.naming import Conventions, Naming, Network, spelled

SOURCE = "cnn_app"
UNIT = "stage{stage}.{unit0}."
LENET = dict(zip(("c1", "c3", "c5", "f6", "logits"), ("0", "3", "6", "9", "11"), strict=True))
RESNET = {"stem_conv": "stem.0", "stem_bn": "stem.1", "logits": "fc"} | {
    f"{letter}_{kind}": f"{UNIT}{kind[0]}{number}"
    for number, letter in enumerate("abc", start=1)
    for kind in ("conv", "bn")
}


def namings(network: Network) -> list[Naming]:
    ours = Naming(SOURCE, {layer: layer for layer in network.layers}, style="keras")
    tables = {"lenet": LENET, "resnet": RESNET}
    if network.family not in tables:
        return [ours]
    conventions = (
        Conventions(epsilon=1e-5, padding="symmetric", shortcut="behind")
        if network.family == "resnet"
        else Conventions()
    )
    return [*spelled(network, f"plain PyTorch {network.family}", tables[network.family], conventions), ours]
