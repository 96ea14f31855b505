# mypy: disallow-subclassing-any=False
"""Muon for many matrices at once, and the gradients that lie side by side."""

import pytest
import torch

from shrota_training.muon import Muon, orthogonalised
from shrota_training.passes import AllPasses, Gradients

SHAPES = ((8, 8), (8, 24), (24, 8), (8, 8))


@pytest.mark.filterwarnings("ignore")
def test_it_moves_as_torchs_own_does_matrix_by_matrix() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(matrix.detach().clone()) for matrix in ours]
    many = Muon(ours, 0.02, weight_decay=0.1)
    usual = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        many.step()
        usual.step()
    for mine, other in zip(ours, theirs, strict=True):
        # one step moves a number by 0.02 * 0.2; Newton-Schulz in bfloat16 rounds differently for many matrices
        torch.testing.assert_close(mine, other, atol=3e-4, rtol=0)


def test_singular_values_become_about_one() -> None:
    torch.manual_seed(0)
    for matrix in (torch.randn(2, 16, 48), torch.randn(2, 48, 16)):
        values = torch.linalg.svdvals(orthogonalised(matrix).float())
        assert values.shape == (2, 16)
        assert 0.6 < values.min() < values.max() < 1.3


def test_all_gradients_are_one_vector_of_limited_length() -> None:
    layer = torch.nn.Linear(3, 5)
    gradients = Gradients(list(layer.parameters()))
    assert gradients.flat.shape == (16 + 8,)  # each begins at a multiple of four
    layer.weight.grad.fill_(3.0)
    layer.bias.grad.fill_(4.0)
    assert gradients.flat.norm().item() == pytest.approx((15 * 9 + 5 * 16) ** 0.5)
    gradients.limit(1.0)
    assert gradients.flat.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert layer.bias.grad[0].item() == pytest.approx(4 / 215**0.5, rel=1e-4)
    before = layer.bias.grad.clone()
    gradients.limit(1.0)
    torch.testing.assert_close(layer.bias.grad, before)
    layer.weight.grad[0, 0] = float("inf")
    gradients.limit(1.0)
    assert not gradients.flat.any()


def test_without_a_gpu_nothing_is_recorded() -> None:
    class Doubling(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, audio: torch.Tensor, frames: None, mask_share: torch.Tensor) -> torch.Tensor:
            assert frames is None
            return audio * self.factor + mask_share

    doubling = Doubling()
    gradients = Gradients(list(doubling.parameters()))
    passes = AllPasses(doubling, gradients, record=False).of((1, 3))
    for _ in range(2):  # the second gradient replaces the first
        guess = passes.forward(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor(0.5))
        assert guess.tolist() == [[2.5, 4.5, 6.5]]
        (guess * torch.tensor([1.0, 0.0, 2.0])).sum().backward()
        passes.backward(guess.grad)
        assert gradients.flat.tolist() == [7.0, 0.0, 0.0, 0.0]
