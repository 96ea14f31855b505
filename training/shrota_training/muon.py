# mypy: disallow-subclassing-any=False
"""Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon), for many matrices of few shapes at once.

`torch.optim.Muon` computes the same, one matrix after the other: some thousand launches in a step of a model like this.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
MOMENTUM = 0.95
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
    """Momentum whose matrices are orthogonalised; a step is as long as one of AdamW with the same rate.

    Source of the scale: Liu et al., 2025, https://arxiv.org/abs/2502.16982, section 2.2.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float = 0.02) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    def step(self) -> None:
        """Move every matrix that has a gradient."""
        with torch.no_grad():
            for group in self.param_groups:
                alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        alike[matrix.shape].append(matrix)
                for matrices in alike.values():
                    self._move(matrices, group["lr"], group["weight_decay"])

    def _move(self, matrices: list[Tensor], rate: float, weight_decay: float) -> None:
        for matrix in matrices:
            if "momentum" not in self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        gradients = [matrix.grad for matrix in matrices]
        means = [self.state[matrix]["momentum"] for matrix in matrices]
        torch._foreach_lerp_(means, gradients, 1 - MOMENTUM)
        ahead = torch.stack(gradients).lerp(torch.stack(means), MOMENTUM)  # Nesterov's
        moves = orthogonalised(ahead).float()
        torch._foreach_mul_(matrices, 1 - rate * weight_decay)
        torch._foreach_add_(matrices, list(moves.unbind()), alpha=-rate * 0.2 * max(matrices[0].shape) ** 0.5)
