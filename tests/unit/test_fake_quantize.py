"""The rounding inside PyTorch: values against PyTorch's own operator, gradients against the published formula."""

import pytest
import torch

from edgekit_quantize.fake_quantize import fake_quantize, fake_round

SCALE, ZERO_POINT = 0.05, -20


@pytest.fixture
def values():
    return torch.randn(400, generator=torch.Generator().manual_seed(2)) * 5.0


def test_values_are_those_of_pytorchs_operator(values):
    expected = torch.fake_quantize_per_tensor_affine(values, SCALE, ZERO_POINT, -128, 127)
    # The two multiply by 1/scale in other precisions: a value on the border between two codes may fall either way.
    differing = (fake_quantize(values, torch.tensor(SCALE), ZERO_POINT) - expected).abs() > 1e-6
    assert differing.sum() <= 1


def test_the_gradient_of_the_values_stops_at_the_range(values):
    values.requires_grad_()
    fake_quantize(values, torch.tensor(SCALE), ZERO_POINT).sum().backward()
    codes = values.detach() / SCALE + ZERO_POINT
    inside = (codes > -128.5) & (codes < 127.5)
    assert 50 < inside.sum() < 400
    assert torch.equal(values.grad, inside.float())


def test_the_gradient_of_the_scale_is_that_of_learned_step_size_quantization(values):
    """Esser et al. 2020, equation 3: round(v/s) - v/s inside of the range, the outermost code outside."""
    scale = torch.tensor(SCALE, requires_grad=True)
    weights = torch.randn(400, generator=torch.Generator().manual_seed(3))
    (fake_quantize(values, scale, ZERO_POINT) * weights).sum().backward()
    steps = values / SCALE
    low, high = -128 - ZERO_POINT, 127 - ZERO_POINT
    slopes = torch.where(steps < low - 0.5, low, torch.where(steps > high + 0.5, high, steps.round() - steps))
    torch.testing.assert_close(scale.grad, (slopes * weights).sum(), rtol=1e-4, atol=1e-3)


def test_weight_codes_are_whole_and_symmetric():
    codes = torch.tensor([-300.0, -127.6, -0.4, 0.6, 126.4, 127.2], requires_grad=True)
    rounded = fake_round(codes)
    assert rounded.tolist() == [-127.0, -127.0, 0.0, 1.0, 126.0, 127.0]
    rounded.sum().backward()
    assert codes.grad.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]
