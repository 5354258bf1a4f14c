"""The fast layers of caffe/layers beside Caffe's own, both in this process."""

import numpy as np
import pytest

from nbcad.bench.layers import chosen
from nbcad.nets.caffe_net import caffe

TOLERANCE = 1e-5  # of the largest value
pytestmark = pytest.mark.usefixtures("two_threads")


def layer(kind: str, **parameters: str) -> str:
    """One layer of a chain: its type and its parameters in prototxt."""
    inner = " ".join(f"{name} {{ {text} }}" for name, text in parameters.items())
    return f'layer {{ name: "{kind}%d" type: "{kind}" bottom: "%s" top: "%s" {inner} }}'


def convolution(text: str) -> str:
    filler = 'weight_filler { type: "gaussian" std: 0.2 } bias_filler { type: "gaussian" std: 0.2 }'
    return layer("Convolution", convolution_param=f"{text} {filler}")


def pooling(text: str) -> str:
    return layer("Pooling", pooling_param=text)


def product(outputs: int) -> str:
    filler = 'weight_filler { type: "gaussian" std: 0.2 } bias_filler { type: "gaussian" std: 0.2 }'
    return layer("InnerProduct", inner_product_param=f"num_output: {outputs} {filler}")


SIGMOID, RELU, SOFTMAX = layer("Sigmoid"), layer("ReLU"), layer("Softmax")
LEAKY = layer("ReLU", relu_param="negative_slope: 0.1")
CHAINS = {
    "one image": ((1, 1, 17, 23), [convolution("num_output: 32 kernel_size: 5 pad: 2"), SIGMOID]),
    "no image's worth of threads": ((3, 16, 9, 8), [convolution("num_output: 48 kernel_size: 3 pad: 1"), RELU]),
    "rows of one image": ((1, 20, 31, 22), [convolution("num_output: 50 kernel_size: 5"), RELU]),
    "more than parts of a batch": ((37, 2, 9, 11), [convolution("num_output: 20 kernel_size: 3"), RELU]),
    "three channels": ((5, 3, 12, 13), [convolution("num_output: 32 kernel_size: 4 stride: 2 pad: 1"), LEAKY]),
    "stride and pad that differ": (
        (4, 5, 19, 14),
        [convolution("num_output: 7 kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 2"), SIGMOID],
    ),
    "groups": ((4, 8, 10, 10), [convolution("num_output: 12 kernel_size: 3 group: 2")]),
    "dilation": ((9, 16, 15, 15), [convolution("num_output: 16 kernel_size: 3 dilation: 2 pad: 2")]),
    "kernel of one": ((9, 50, 7, 6), [convolution("num_output: 5 kernel_size: 1"), SOFTMAX]),
    "no bias": ((9, 1, 15, 15), [convolution("num_output: 16 kernel_size: 3 bias_term: false")]),
    "blocks after interleaved": (
        (9, 20, 12, 12),
        [convolution("num_output: 32 kernel_size: 3"), RELU, convolution("num_output: 32 kernel_size: 3")],
    ),
    "images side by side": (
        (32, 1, 28, 27),
        [
            convolution("num_output: 20 kernel_size: 5"), RELU, pooling("pool: MAX kernel_size: 2 stride: 2"),
            convolution("num_output: 7 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2"), SIGMOID,
            pooling("pool: MAX kernel_size: 3 stride: 2"), convolution("num_output: 32 kernel_size: 3"),
        ],
    ),
    "images side by side without bias": (
        (16, 12, 9, 6), [convolution("num_output: 50 kernel_size: 5 bias_term: false pad: 4")],
    ),
    "overlapping windows": ((3, 16, 33, 64), [pooling("pool: MAX kernel_size: 3 stride: 2"), SIGMOID]),
    "last windows that are cut": ((2, 20, 15, 21), [pooling("pool: MAX kernel_size: 2 stride: 2"), RELU]),
    "padded windows": ((9, 3, 14, 15), [pooling("pool: MAX kernel_size: 5 stride: 3 pad: 2")]),
    "windows apart": ((9, 32, 14, 17), [pooling("pool: MAX kernel_size: 2 stride: 3")]),
    "windows of the whole": ((2, 20, 5, 5), [pooling("pool: MAX global_pooling: true")]),
    "averages": ((2, 20, 15, 21), [pooling("pool: AVE kernel_size: 3 stride: 2"), SIGMOID]),
    "all of them": (
        (9, 1, 30, 27),
        [
            convolution("num_output: 20 kernel_size: 5 pad: 1"), RELU, pooling("pool: MAX kernel_size: 3 stride: 2"),
            convolution("num_output: 32 kernel_size: 3 pad: 1"), pooling("pool: MAX kernel_size: 2 stride: 2"), SIGMOID,
            convolution("num_output: 32 kernel_size: 3 pad: 1"), product(70), SIGMOID, product(3), SOFTMAX,
        ],
    ),
}  # fmt: skip


def build(shape: tuple[int, ...], layers: list[str], engine: str, folder, phase=caffe.TRAIN) -> caffe.Net:
    """A chain of layers; gradients reach its input."""
    text = [f'force_backward: true layer {{ name: "in" type: "Input" top: "0" input_param {{ shape {{ '
            f'{" ".join(f"dim: {size}" for size in shape)} }} }} }}']  # fmt: skip
    text += [each % (i, i, i + 1) for i, each in enumerate(layers)]
    path = folder / f"{engine}.prototxt"
    path.write_text("\n".join(text))
    caffe.set_random_seed(1)
    with chosen(engine):
        return caffe.Net(str(path), phase)


def pair(name: str, folder) -> dict[str, caffe.Net]:
    shape, layers = CHAINS[name]
    nets = {engine: build(shape, layers, engine, folder) for engine in ("stock", "fast")}
    for net in nets.values():
        net.blobs["0"].data[...] = np.random.default_rng(1).normal(size=shape)
    return nets


def apart(stock: np.ndarray, fast: np.ndarray) -> float:
    return float(np.abs(stock.astype(float) - fast).max() / np.abs(stock).max())


def differing(seen: dict[str, dict]) -> dict:
    """What differs by more than the tolerance, and how much."""
    distances = {what: apart(seen["stock"][what], seen["fast"][what]) for what in seen["stock"]}
    return {what: distance for what, distance in distances.items() if not distance < TOLERANCE}


@pytest.mark.parametrize("name", CHAINS)
def test_values_and_gradients_are_the_stock_layers(name, tmp_path):
    nets = pair(name, tmp_path)
    last = str(len(CHAINS[name][1]))
    seen = {}
    for engine, net in nets.items():
        net.forward()
        output = net.blobs[last].data
        net.blobs[last].diff[...] = np.random.default_rng(2).normal(size=output.shape)
        net.backward()
        seen[engine] = {f"{blob} data": net.blobs[blob].data.copy() for blob in net.blobs}
        seen[engine] |= {f"{blob} gradient": net.blobs[blob].diff.copy() for blob in net.blobs}
        seen[engine] |= {
            f"{layer} {i}": each.diff.copy() for layer, own in net.params.items() for i, each in enumerate(own)
        }
    assert differing(seen) == {}


def test_values_held_in_another_layout_are_found_and_changed_as_ever(tmp_path):
    net = pair("all of them", tmp_path)["fast"]
    net.forward()
    view = net.blobs["3"].data
    before = view.copy()
    net.blobs["0"].data[...] += 1
    net.forward()
    assert not np.array_equal(view, before)  # an array taken earlier shows the new values
    view[...] = 0
    net.forward(start=net._layer_names[4])
    weight, bias = (net.params[net._layer_names[4]][i].data for i in range(2))
    assert weight.shape[1] == view.shape[1]
    np.testing.assert_allclose(net.blobs["4"].data[0, :, 3, 3], bias, rtol=1e-6)


def test_gradients_in_the_test_phase_are_those_of_training(tmp_path):
    shape, layers = (9, 20, 15, 21), [pooling("pool: MAX kernel_size: 3 stride: 2"), SIGMOID]
    results = []
    for phase in (caffe.TRAIN, caffe.TEST):
        net = build(shape, layers, "fast", tmp_path, phase)
        net.blobs["0"].data[...] = np.random.default_rng(1).normal(size=shape)
        net.forward()
        net.blobs["2"].diff[...] = 1
        net.backward()
        results.append(net.blobs["0"].diff.copy())
    np.testing.assert_array_equal(*results)
    assert np.count_nonzero(results[0]) > 0


BRANCHES = """
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 64 dim: 1 dim: 12 dim: 12 } } }
layer { name: "split" type: "Split" bottom: "in" top: "a" top: "b" }
layer { name: "conv" type: "Convolution" bottom: "a" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3 weight_filler { type: "gaussian" std: 0.2 } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
"""  # a and b are the same values
OVERWRITING = {
    "stock": 'type: "Power" power_param { scale: 3 }',
    "Python": f'type: "Python" python_param {{ module: "{__name__}" layer: "Overwriting" }}',
}


class Overwriting(caffe.Layer):
    """Overwrites its input in place before its turn to compute."""

    def setup(self, bottom, top):
        self.passes = 0

    def reshape(self, bottom, top):
        self.passes += 1
        if self.passes > 1:  # not yet when the net is set up
            bottom[0].data[...] *= 3

    def forward(self, bottom, top):
        """All is done."""


def branches(engine: str, folder, last: str = OVERWRITING["stock"]) -> caffe.Net:
    path = folder / f"{engine}.prototxt"
    path.write_text(BRANCHES + f'layer {{ name: "last" bottom: "b" top: "b" {last} }}')
    caffe.set_random_seed(1)
    with chosen(engine):
        net = caffe.Net(str(path), caffe.TEST)
    net.blobs["in"].data[...] = np.random.default_rng(1).normal(size=net.blobs["in"].data.shape)
    return net


@pytest.mark.parametrize("kind", OVERWRITING)
def test_deferred_layers_have_read_what_a_later_layer_overwrites(kind, tmp_path):
    nets = [branches(engine, tmp_path, OVERWRITING[kind]) for engine in ("stock", "fast")]
    for net in nets:
        net.forward()
    stock, fast = (net.blobs["pool"].data for net in nets)
    assert apart(stock, fast) < TOLERANCE


@pytest.mark.parametrize("watch", ["before_forward", "after_forward"])
def test_who_watches_a_layer_comes_after_the_work_of_those_before(watch, tmp_path):
    seen = []
    for engine in ("stock", "fast"):
        net = branches(engine, tmp_path)
        names = list(net._layer_names)

        def overwrite(number, net=net, names=names):
            if names[number] == "pool":
                net.blobs["in"].data[...] = 0

        getattr(net, watch)(overwrite)
        net.forward()
        seen.append(net.blobs["conv"].data.copy())
    assert apart(*seen) < TOLERANCE


def test_sigmoid_ends_in_0_and_1_and_keeps_nan(tmp_path):
    net = build((1, 6), [SIGMOID], "fast", tmp_path)
    net.blobs["0"].data[...] = [-np.inf, -200, 0, 200, np.inf, np.nan]
    np.testing.assert_array_equal(net.forward()["1"][0], [0, 0, 0.5, 1, 1, np.nan])


def test_gradients_add_up(tmp_path):
    net = pair("all of them", tmp_path)["fast"]
    last = str(len(CHAINS["all of them"][1]))
    sums = []
    for _ in range(2):
        net.forward()
        net.blobs[last].diff[...] = np.random.default_rng(2).normal(size=net.blobs[last].data.shape)
        net.backward()
        sums.append([own[0].diff.copy() for own in net.params.values()])
    for once, twice in zip(*sums, strict=True):
        assert apart(2 * once, twice) < TOLERANCE


def test_pooling_passes_over_nan_and_keeps_infinity(tmp_path):
    images = np.random.default_rng(1).normal(size=(1, 16, 6, 6)).astype(np.float32)
    images[0, :, :3, :3], images[0, :, 4:, 4:], images[0, 0, 3, 0] = np.nan, -np.inf, np.inf
    results = []
    for engine in ("stock", "fast"):
        net = build(images.shape, [pooling("pool: MAX kernel_size: 2 stride: 2")], engine, tmp_path)
        net.blobs["0"].data[...] = images
        results.append(net.forward()["1"].copy())
    np.testing.assert_array_equal(*results)


def test_dropout_drops_what_the_stock_layer_drops(tmp_path):
    results = []
    for engine in ("stock", "fast"):
        net = build((8, 500), [layer("Dropout", dropout_param="dropout_ratio: 0.4")], engine, tmp_path)
        net.blobs["0"].data[...] = 1
        caffe.set_random_seed(5)
        results.append(net.forward()["1"].copy())
    np.testing.assert_array_equal(*results)
    assert 0 < np.count_nonzero(results[0]) < results[0].size


def test_net_over_slices_is_reshaped_to_any_size(rng):
    with chosen("stock"):
        stock = caffe.Net("models/stage_lenet5/fcn.prototxt", caffe.TEST)
    fast = caffe.Net("models/stage_lenet5/fcn.prototxt", caffe.TEST)
    for name, own in stock.params.items():
        for mine, other in zip(fast.params[name], own, strict=True):
            other.data[...] = mine.data[...] = rng.normal(size=other.data.shape) / np.sqrt(other.data[0].size)
    for shape in ((1, 1, 96, 80), (8, 1, 33, 47), (1, 1, 32, 32), (3, 1, 61, 40), (1, 1, 96, 80)):
        images = rng.normal(size=shape)
        results = []
        for net in (stock, fast):
            net.blobs["data"].reshape(*shape)
            net.reshape()
            net.blobs["data"].data[...] = images
            results.append(net.forward()["prob"].copy())
        assert apart(*results) < TOLERANCE
