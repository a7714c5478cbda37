"""Attributions against captum's on the same weights in PyTorch, where both are installed: neither is a dependency."""

import numpy as np
import pytest
from parity import RESNET, by_table, case, fill

import cnn_app
from cnn_app.analysis.attribution import explained, method
from cnn_app.analysis.attribution.integrated import attributions as integrated
from cnn_app.inputs.image import Image
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks.classification import Classification

torch = pytest.importorskip("torch")
attr = pytest.importorskip("captum.attr")
nn = torch.nn
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs: of hooks, of a GPU that is not there
MEAN, STD, CLASS = 127.5, 64.0, 3


class Unit(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.c2, self.b2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu1, self.relu2, self.stride = nn.ReLU(), nn.ReLU(), stride

    def forward(self, x):
        y = self.b2(self.c2(self.relu1(self.b1(self.c1(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        short = nn.functional.pad(short, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return self.relu2(y + short)


class ResNet20(nn.Module):
    """With shortcuts of option A, for pixels in [0, 255]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        for stage, (before, after) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            units = [Unit(before, after, 1 if stage == 1 else 2), Unit(after, after, 1), Unit(after, after, 1)]
            setattr(self, f"stage{stage}", nn.Sequential(*units))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.stage3(self.stage2(self.stage1(self.stem((x - MEAN) / STD))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def both():
    """The network here as `Explained`, that of PyTorch, and an image."""
    state, *_ = case("own_cifar_resnet20_A")
    model = cnn_app.create_model("resnet20", image=(32, 32, 3), classes=10, pixel_mean=MEAN, pixel_std=STD)
    fill(model, state, by_table(RESNET))
    theirs = ResNet20().eval()
    weights = {name: torch.tensor(np.asarray(value, np.float32)) for name, value in state.items()}
    missing, unknown = theirs.load_state_dict(weights, strict=False)
    assert not unknown and all(name.endswith("num_batches_tracked") for name in missing)
    task = Classification(input=Image((32, 32, 3)), labels=tuple("abcdefghij"))
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    ours = explained(KerasRuntime(task.deployed(model)), task, CLASS, model, None)
    return ours, theirs, image


def pixels(image):
    return torch.tensor(image.transpose(2, 0, 1)[None].astype(np.float32), requires_grad=True)


def near(found, wanted):
    wanted = wanted.detach().numpy() if hasattr(wanted, "detach") else wanted
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def largest(wanted):
    return wanted[0].abs().amax(0)


def test_gradients(both):
    ours, theirs, image = both
    near(method("saliency")(ours, image), largest(attr.Saliency(theirs).attribute(pixels(image), target=CLASS)))
    wanted = attr.IntegratedGradients(theirs).attribute(pixels(image), target=CLASS, n_steps=48)
    near(integrated(ours, image), wanted[0].permute(1, 2, 0))


def test_rectified(both):
    ours, theirs, image = both
    near(method("guided")(ours, image), largest(attr.GuidedBackprop(theirs).attribute(pixels(image), target=CLASS)))
    near(method("deconvnet")(ours, image), largest(attr.Deconvolution(theirs).attribute(pixels(image), target=CLASS)))


def test_gradcam(both):
    ours, theirs, image = both
    assert ours.layer == "stage3_unit3_out"
    maps = attr.LayerGradCam(theirs, theirs.stage3[2].relu2)
    found = maps.attribute(pixels(image), target=CLASS, relu_attributions=True)
    near(method("gradcam")(ours, image), attr.LayerAttribution.interpolate(found, (32, 32), "bilinear")[0, 0])


def test_occlusion(both):
    """To the last bit of a float32 probability: both are differences of them."""
    ours, theirs, image = both
    grey = torch.tensor(np.round(image.mean((0, 1))), dtype=torch.float32)[None, :, None, None].expand(1, 3, 32, 32)
    told = attr.Occlusion(nn.Sequential(theirs, nn.Softmax(1))).attribute(
        pixels(image), (3, 5, 5), (3, 1, 1), grey, CLASS, perturbations_per_eval=32
    )
    wanted = np.maximum(told[0, 0].detach().numpy(), 0)
    np.testing.assert_allclose(method("occlusion")(ours, image), wanted, atol=1e-6)
