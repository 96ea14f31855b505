"""Products of ``acoustic_torch`` in 8 bits: what they round, and that no row knows of its neighbours."""

import pytest
import torch

from shrota_torch.kernels import FP8, FP8_MAX, Quantized, add_norm, product8, quantized

HALF_STEP = 2.0**-4
"""Of numbers with three bits behind the first one, relative."""


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def value_of(x: Quantized) -> torch.Tensor:
    return x.values.float() * x.scales


def test_numbers_are_rounded_to_three_bits_of_a_scale_of_each_row() -> None:
    x = random(5, 64) * torch.tensor([1e-6, 1e-3, 1.0, 1e3, 1e6])[:, None]
    found = quantized(x)
    assert found.values.dtype == FP8
    assert found.values.float().abs().amax(1).tolist() == [FP8_MAX] * 5
    least = x.abs().amax(1, keepdim=True) / FP8_MAX * 2.0**-6  # below it the steps are equal
    assert ((value_of(found) - x).abs() <= HALF_STEP * x.abs().maximum(least)).all()


def test_a_row_of_zeros_stays_one() -> None:
    assert not value_of(quantized(torch.zeros(2, 8))).any()


@pytest.mark.parametrize("activate", [False, True])
def test_a_row_is_the_same_beside_a_loud_one(activate: bool) -> None:
    x = random(3, 32)
    loud = torch.cat([x, 1e4 * random(1, 32, seed=1)])
    alone, beside = quantized(x, activate=activate), quantized(loud, activate=activate)
    assert torch.equal(value_of(alone), value_of(beside)[:3])


def test_the_activation_is_gelu() -> None:
    x = random(4, 32)
    assert torch.equal(value_of(quantized(x, activate=True)), value_of(quantized(torch.nn.functional.gelu(x))))


def test_a_product_is_that_of_the_rounded_numbers() -> None:
    x, weight, bias = random(6, 32), random(32, 16, seed=1), random(16, seed=2)
    columns = quantized(weight.t().contiguous())
    found = product8(quantized(x), Quantized(columns.values.t(), columns.scales.t()), bias)
    exact = value_of(quantized(x)) @ value_of(columns).t() + bias
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)
    # and those are near the ones that were given: the roundings of 32 summands partly cancel
    error = (found - (x @ weight + bias)).abs().mean() / (x @ weight).abs().mean()
    assert 0.001 < error < 0.06


def test_a_norm_in_8_bits_is_the_norm_rounded_and_the_stream_is_not() -> None:
    norm = torch.nn.LayerNorm(32)
    residual, added = random(4, 32), random(4, 32, seed=1)
    stream = residual.clone()
    with torch.inference_mode():
        found = add_norm(stream, added, norm, FP8)
        assert isinstance(found, Quantized)
        assert torch.equal(stream, residual + added)
        assert torch.equal(value_of(found), value_of(quantized(norm(residual + added))))
