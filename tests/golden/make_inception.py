"""Golden features of FID's Inception-v3: the published architecture in torch, written out block by block.

Run from the repository's root where torch is installed: ``python tests/golden/make_inception.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from inception_weights import inception_weight
from safetensors.torch import save_file
from torch import Tensor

HERE = Path(__file__).parent


class Net:
    """Applies layers by their full names; weights come from their names when they are first needed."""

    def conv(self, x: Tensor, name: str, out: int, kernel: tuple[int, int], **options: object) -> Tensor:
        shape = (out, x.shape[1], *kernel)
        x = F.conv2d(x, torch.from_numpy(inception_weight(f"{name}.conv.weight", shape)), **options)
        stats = [torch.from_numpy(inception_weight(f"{name}.bn.{key}", (out,))) for key in KEYS]
        return F.relu(F.batch_norm(x, *stats, training=False, eps=0.001))

    def a(self, x: Tensor, n: str, pool: int) -> Tensor:
        one = self.conv(x, f"{n}.branch1x1", 64, (1, 1))
        five = self.conv(x, f"{n}.branch5x5_1", 48, (1, 1))
        five = self.conv(five, f"{n}.branch5x5_2", 64, (5, 5), padding=2)
        double = self.conv(x, f"{n}.branch3x3dbl_1", 64, (1, 1))
        double = self.conv(double, f"{n}.branch3x3dbl_2", 96, (3, 3), padding=1)
        double = self.conv(double, f"{n}.branch3x3dbl_3", 96, (3, 3), padding=1)
        return torch.cat([one, five, double, self.conv(mean(x), f"{n}.branch_pool", pool, (1, 1))], 1)

    def b(self, x: Tensor, n: str) -> Tensor:
        three = self.conv(x, f"{n}.branch3x3", 384, (3, 3), stride=2)
        double = self.conv(x, f"{n}.branch3x3dbl_1", 64, (1, 1))
        double = self.conv(double, f"{n}.branch3x3dbl_2", 96, (3, 3), padding=1)
        double = self.conv(double, f"{n}.branch3x3dbl_3", 96, (3, 3), stride=2)
        return torch.cat([three, double, F.max_pool2d(x, 3, 2)], 1)

    def c(self, x: Tensor, n: str, width: int) -> Tensor:
        one = self.conv(x, f"{n}.branch1x1", 192, (1, 1))
        seven = self.conv(x, f"{n}.branch7x7_1", width, (1, 1))
        seven = self.conv(seven, f"{n}.branch7x7_2", width, (1, 7), padding=(0, 3))
        seven = self.conv(seven, f"{n}.branch7x7_3", 192, (7, 1), padding=(3, 0))
        double = self.conv(x, f"{n}.branch7x7dbl_1", width, (1, 1))
        double = self.conv(double, f"{n}.branch7x7dbl_2", width, (7, 1), padding=(3, 0))
        double = self.conv(double, f"{n}.branch7x7dbl_3", width, (1, 7), padding=(0, 3))
        double = self.conv(double, f"{n}.branch7x7dbl_4", width, (7, 1), padding=(3, 0))
        double = self.conv(double, f"{n}.branch7x7dbl_5", 192, (1, 7), padding=(0, 3))
        return torch.cat([one, seven, double, self.conv(mean(x), f"{n}.branch_pool", 192, (1, 1))], 1)

    def d(self, x: Tensor, n: str) -> Tensor:
        three = self.conv(x, f"{n}.branch3x3_1", 192, (1, 1))
        three = self.conv(three, f"{n}.branch3x3_2", 320, (3, 3), stride=2)
        seven = self.conv(x, f"{n}.branch7x7x3_1", 192, (1, 1))
        seven = self.conv(seven, f"{n}.branch7x7x3_2", 192, (1, 7), padding=(0, 3))
        seven = self.conv(seven, f"{n}.branch7x7x3_3", 192, (7, 1), padding=(3, 0))
        seven = self.conv(seven, f"{n}.branch7x7x3_4", 192, (3, 3), stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def e(self, x: Tensor, n: str, pooled: Tensor) -> Tensor:
        one = self.conv(x, f"{n}.branch1x1", 320, (1, 1))
        three = self.conv(x, f"{n}.branch3x3_1", 384, (1, 1))
        wide = self.conv(three, f"{n}.branch3x3_2a", 384, (1, 3), padding=(0, 1))
        tall = self.conv(three, f"{n}.branch3x3_2b", 384, (3, 1), padding=(1, 0))
        double = self.conv(x, f"{n}.branch3x3dbl_1", 448, (1, 1))
        double = self.conv(double, f"{n}.branch3x3dbl_2", 384, (3, 3), padding=1)
        double_wide = self.conv(double, f"{n}.branch3x3dbl_3a", 384, (1, 3), padding=(0, 1))
        double_tall = self.conv(double, f"{n}.branch3x3dbl_3b", 384, (3, 1), padding=(1, 0))
        pool = self.conv(pooled, f"{n}.branch_pool", 192, (1, 1))
        return torch.cat([one, wide, tall, double_wide, double_tall, pool], 1)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.conv(x, "Conv2d_1a_3x3", 32, (3, 3), stride=2)
        x = self.conv(x, "Conv2d_2a_3x3", 32, (3, 3))
        x = self.conv(x, "Conv2d_2b_3x3", 64, (3, 3), padding=1)
        x = self.conv(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1", 80, (1, 1))
        x = F.max_pool2d(self.conv(x, "Conv2d_4a_3x3", 192, (3, 3)), 3, 2)
        x = self.a(self.a(self.a(x, "Mixed_5b", 32), "Mixed_5c", 64), "Mixed_5d", 64)
        x = self.b(x, "Mixed_6a")
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = self.c(x, name, width)
        x = self.d(x, "Mixed_7a")
        x = self.e(x, "Mixed_7b", mean(x))
        x = self.e(x, "Mixed_7c", F.max_pool2d(x, 3, 1, 1))
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


KEYS = ("running_mean", "running_var", "weight", "bias")


def mean(x: Tensor) -> Tensor:
    """Without the border."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def enlarged(picture: np.ndarray) -> Tensor:
    """[1, 3, 299, 299] in [0, 255], with pixel i at i·H/299: sampled on a grid."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    axes = [2 * torch.arange(299).double() * (size / 299) / (size - 1) - 1 for size in picture.shape[:2]]
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], -1)[None]
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True).float()


def main() -> None:
    """Two pictures of different sizes, one smaller and one larger than the network's input."""
    rng = np.random.RandomState(0)
    pictures = [rng.randint(0, 256, shape).astype(np.uint8) for shape in ((32, 40, 3), (330, 310, 3))]
    pictures[1] = np.ascontiguousarray(np.repeat(np.repeat(pictures[1][:66, :62], 5, 0), 5, 1))
    resized = [enlarged(picture) for picture in pictures]
    with torch.no_grad():
        features = Net()((torch.cat(resized) - 128) / 128)
    tensors = {
        "small": torch.from_numpy(pictures[0]),
        "large": torch.from_numpy(pictures[1]),
        "small.corner": resized[0][0, :, :40, :40],
        "large.corner": resized[1][0, :, -40:, -40:],
        "features": features,
    }
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / "inception.safetensors")


if __name__ == "__main__":
    main()
