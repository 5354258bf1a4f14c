"""PyTorch beside Caffe: the same nets, timed one iteration at a time, under an interpreter of the benchmark's own.

Standard input has the nets as one line of JSON, {name: {"shape": [...], "classes": n, "layers": [...]}}, and then a
line for each request, [net, action, variant], with a variant of layers.py. Standard output answers the first with a
line of JSON on PyTorch, and each request with a line of seconds.
"""

import json
import sys
import time

import torch
from torch import nn

MATRIX = 2048


def build(layers: list[dict]) -> nn.Sequential:
    """Build a net of the modules that correspond to Caffe's layers."""
    modules = {
        "Convolution": lambda i, o, kernel, pad: nn.Conv2d(i, o, kernel, padding=pad),
        "Pooling": lambda kernel, stride: nn.MaxPool2d(kernel, stride, ceil_mode=True),
        "InnerProduct": lambda i, o: nn.Linear(i, o),
        "Flatten": nn.Flatten,
        "Sigmoid": nn.Sigmoid,
        "ReLU": lambda: nn.ReLU(inplace=True),
        "Dropout": lambda ratio: nn.Dropout(ratio),
    }
    return nn.Sequential(*(modules[layer["type"]](*layer["numbers"]) for layer in layers))


class Variant:
    """A net with its optimiser and its input, in one way to run it and one layout of its memory."""

    def __init__(self, net: dict, name: str):
        run, layout = name.split(", ")
        form = torch.channels_last if layout == "channels last" else torch.contiguous_format
        torch.manual_seed(1)
        self.net = build(net["layers"]).to(memory_format=form)
        self.run = torch.compile(self.net) if run == "compiled" else self.net
        self.images = torch.randn(net["shape"]).to(memory_format=form)
        self.labels = torch.randint(0, net["classes"], (net["shape"][0],))
        self.loss = nn.CrossEntropyLoss()
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=1e-4, momentum=0.9, weight_decay=0.004, fused=True)

    def train(self) -> float:
        """Return the seconds for one training iteration."""
        self.net.train()
        started = time.perf_counter()
        self.optimiser.zero_grad()
        self.loss(self.run(self.images), self.labels).backward()
        self.optimiser.step()
        return time.perf_counter() - started

    def infer(self) -> float:
        """Return the seconds for the inference of one batch."""
        self.net.eval()
        started = time.perf_counter()
        with torch.inference_mode():
            self.run(self.images)
        return time.perf_counter() - started


def multiply() -> float:
    """Return the seconds for a product of two square matrices."""
    a, b = torch.ones(MATRIX, MATRIX), torch.ones(MATRIX, MATRIX)
    started = time.perf_counter()
    torch.mm(a, b)
    return time.perf_counter() - started


def main() -> None:
    """Answer requests until standard input ends."""
    nets = json.loads(sys.stdin.readline())
    variants: dict[tuple[str, str, str], Variant] = {}
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        name, action, variant = json.loads(line)
        if action == "multiply":
            print(multiply(), flush=True)
            continue
        key = (name, action, variant)
        if key not in variants:
            variants[key] = Variant(nets[name], variant)
        print(getattr(variants[key], action)(), flush=True)


if __name__ == "__main__":
    main()
