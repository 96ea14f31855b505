"""Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon), for many matrices of few shapes at once.

`torch.optim.Muon` computes the same, one matrix after the other: some thousand launches in a step of a model like this.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
SMALLEST_NORM = 1e-7


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return about the nearest semi-orthogonal matrix of each, [n, rows, columns], by Newton-Schulz in bfloat16."""
    tall = matrices.shape[1] > matrices.shape[2]
    found = (matrices.mT if tall else matrices).bfloat16()
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalised; a step is as long as one of AdamW with the same rate (Liu et al., 2025).

    Source of the scale: https://arxiv.org/abs/2502.16982, section 2.2.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                gradients = [matrix.grad for matrix in matrices]
                for matrix in matrices:
                    if "momentum" not in self.state[matrix]:
                        self.state[matrix]["momentum"] = torch.zeros_like(matrix)
                before = [self.state[matrix]["momentum"] for matrix in matrices]
                torch._foreach_lerp_(before, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, before, group["momentum"])  # Nesterov's
                moves = orthogonalised(torch.stack(ahead)).float()
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(moves.unbind()), alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)
