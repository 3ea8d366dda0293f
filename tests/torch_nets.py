"""Run by the interpreter of .venv-torch: networks of others with random weights, and their outputs.

    python torch_nets.py write NAME FOLDER       NAME.pth, and outputs.npz
    python torch_nets.py read NAME FILE FOLDER   outputs.npz of the weights in a .safetensors file
    python torch_nets.py golden FILE             outputs of small nets, for the default tests
    python torch_nets.py files FOLDER            torch_zip.pth and torch_legacy.th

All random numbers are those of `values`, which needs NumPy only: the tests make the same.
"""

import sys
import zlib

import numpy as np

SIDES = ((224, 224), (97, 131))
GOLDEN = (
    "torchvision/resnet18",
    "torchvision/resnext50_32x4d",
    "timm/dpn68",
    "timm/dpn68b",
    "timm/resnetv2_18",
    "timm/resnetv2_50",
    "akamaster/resnet20",
    "kuangliu/resnet50",
    "weiaicunzai/resnet18",
)


def values(name, shape):
    """Numbers for a tensor that depend on its name alone: float32 of the scale of trained nets."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    last = name.rpartition(".")[2]
    if len(shape) > 1:
        spread = (2.0 / np.prod(shape[1:])) ** 0.5
        return rng.normal(0, spread, shape).astype(np.float32)
    if last == "running_var":
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)
    if last == "weight":
        return rng.uniform(-0.2, 0.9, shape).astype(np.float32)
    return rng.normal(0, 0.2, shape).astype(np.float32)


def image(sides):
    """A batch of one float32 image `(1, height, width, 3)`."""
    return np.random.default_rng(sides).normal(0, 1, (1, *sides, 3)).astype(np.float32)


def cifar_net(dialect, name):
    """The networks of three repositories for CIFAR, written anew under the names that they use."""
    import torch
    from torch import nn

    depth = int(name.removeprefix("resnet"))
    is_he = dialect == "akamaster"
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
    deep = not is_he and depth > 34
    rows = ((depth - 2) // 6,) * 3 if is_he else blocks[depth]
    width, grown = (16 if is_he else 64), (4 if deep else 1)

    def conv(ins, outs, size, stride=1):
        return nn.Conv2d(ins, outs, size, stride, size // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, ins, planes, stride):
            super().__init__()
            sizes = ((1, planes, 1), (3, planes, stride), (1, planes * 4, 1)) if deep else (
                (3, planes, stride),
                (3, planes, 1),
            )
            row, self.count = [], len(sizes)
            for number, (size, outs, step) in enumerate(sizes, 1):
                last = ins if number == 1 else row[-1].num_features
                row += [conv(last, outs, size, step), nn.BatchNorm2d(outs)]
            if dialect == "weiaicunzai":
                pairs = [(*row[at : at + 2], nn.ReLU()) for at in range(0, len(row), 2)]
                self.residual_function = nn.Sequential(*sum(pairs, ())[:-1])
            else:
                for at in range(0, len(row), 2):
                    self.add_module(f"conv{at // 2 + 1}", row[at])
                    self.add_module(f"bn{at // 2 + 1}", row[at + 1])
            self.row = lambda: row
            outs = planes * grown
            self.shortcut, self.pad, self.stride = nn.Sequential(), 0, stride
            if is_he:
                self.pad = (outs - ins) // 2
            elif stride > 1 or ins != outs:
                self.shortcut = nn.Sequential(conv(ins, outs, 1, stride), nn.BatchNorm2d(outs))

        def forward(self, x):
            y, row = x, self.row()
            for at in range(0, len(row), 2):
                y = row[at + 1](row[at](y))
                y = y.relu() if at + 2 < len(row) else y
            if self.pad:
                x = x[:, :, :: self.stride, :: self.stride]
                x = nn.functional.pad(x, (0, 0, 0, 0, self.pad, self.pad))
            return (y + self.shortcut(x)).relu()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            if dialect == "weiaicunzai":
                self.conv1 = nn.Sequential(conv(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
            else:
                self.conv1, self.bn1 = conv(3, width, 3), nn.BatchNorm2d(width)
            ins, self.names = width, []
            for stage, count in enumerate(rows):
                planes, made = width * 2**stage, []
                for index in range(count):
                    made.append(Block(ins, planes, 2 if stage and not index else 1))
                    ins = planes * grown
                name = f"conv{stage + 2}_x" if dialect == "weiaicunzai" else f"layer{stage + 1}"
                self.add_module(name, nn.Sequential(*made))
                self.names.append(name)
            head = nn.Linear(ins, 100 if dialect == "weiaicunzai" else 10)
            self.add_module("fc" if dialect == "weiaicunzai" else "linear", head)
            self.head = lambda: head

        def forward(self, x):
            x = self.conv1(x) if dialect == "weiaicunzai" else self.bn1(self.conv1(x)).relu()
            for name in self.names:
                x = getattr(self, name)(x)
            return self.head()(torch.mean(x, (2, 3)))

    return Net()


def make(name):
    """The network of a name such as `"timm/dpn68"`, with random weights."""
    import torch

    where, _, model = name.partition("/")
    if where == "torchvision":
        import torchvision

        net = getattr(torchvision.models, model)()
    elif where == "timm":
        import timm

        net = timm.create_model(model)
    else:
        net = cifar_net(where, model)
    state = net.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            state[key] = torch.from_numpy(values(key, tuple(tensor.shape)))
    net.load_state_dict(state, strict=True)
    return net.eval()


def outputs(net, sides):
    """The logits of `image(sides)`: array `(classes,)`."""
    import torch

    with torch.no_grad():
        return net(torch.from_numpy(image(sides).transpose(0, 3, 1, 2)))[0].numpy()


def write_files(folder):
    """A checkpoint with everything that one may hold, in both forms of torch.save."""
    import argparse
    import collections

    import torch

    numbers = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = collections.OrderedDict(
        float32=numbers,
        tied=numbers,
        strided=numbers.permute(2, 0, 1)[1:, :, ::2],
        expanded=torch.ones(1, 2).expand(3, 2),
        scalar=torch.tensor(7.0),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(numbers + 0.5),
    )
    for kind in ("float64", "float16", "bfloat16", "int64"):
        tensors[kind] = numbers.to(getattr(torch, kind))
    content = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "kind": np.dtype("float32"),
        "device": torch.device("cpu"),
        "state_dict": collections.OrderedDict((f"module.{k}", v) for k, v in tensors.items()),
        "optimizer": {"state": {0: {"momentum": numbers}}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(content, f"{folder}/torch_zip.pth")
    torch.save(content, f"{folder}/torch_legacy.th", _use_new_zipfile_serialization=False)


def main(task, name, *places):
    import torch

    torch.set_num_threads(2)
    if task == "golden":
        found = {}
        for each in GOLDEN:
            net = make(each)
            found[each] = outputs(net, (64, 80))[:10]
        np.savez(name, **found)
        return
    if task == "files":
        return write_files(name)
    net = make(name)
    if task == "write":
        torch.save(net.state_dict(), f"{places[0]}/net.pth")
    else:
        from safetensors.torch import load_file

        net.load_state_dict(load_file(places[0]), strict=True)
    small = ((32, 32), (40, 56)) if name.split("/")[0] not in ("torchvision", "timm") else SIDES
    results = {f"{h}x{w}": outputs(net, (h, w)) for h, w in small}
    np.savez(f"{places[-1]}/outputs.npz", **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
