"""torchvision's ResNet-50 under scripts/benchmark.py --suite=inference, in torch's own environment.

    python benchmark_torch.py BATCH SIDE float32|bfloat16

Each line on stdin asks for one step; its seconds are the answer.
"""

import sys
import time

import torch
import torchvision


def main(batch, side, precision):
    dtype = getattr(torch, precision)
    model = torchvision.models.resnet50().eval().to(dtype, memory_format=torch.channels_last)
    images = torch.randn(int(batch), 3, int(side), int(side)).to(
        dtype, memory_format=torch.channels_last
    )
    with torch.inference_mode():
        for _ in sys.stdin:
            start = time.perf_counter()
            model(images).softmax(-1)
            print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
