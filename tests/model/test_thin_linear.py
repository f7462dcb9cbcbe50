"""The thin layer against PyTorch's in float64; where each of the two is used."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mscnn.model import thin_linear

needs_onednn = pytest.mark.skipif(
    not (thin_linear.HAS_ONEDNN and torch.backends.cpu.get_cpu_capability() in thin_linear.CAPABILITIES),
    reason="oneDNN is used on CPUs with AVX2 or AVX-512 alone")
INPUTS, OUTPUTS = 1000, 48  # no multiples of a vector, or of each other


def layer_and_rows(rows: int, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    layer = nn.Linear(INPUTS, OUTPUTS, dtype=dtype)
    return layer, torch.randn(rows, INPUTS, dtype=dtype).requires_grad_()


def passes(layer: nn.Linear, inputs: torch.Tensor, linear) -> tuple[torch.Tensor, ...]:
    """Outputs, and gradients of inputs, weight and bias for the same upstream gradient."""
    found = linear(inputs)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found.dtype)
    return found, *torch.autograd.grad(found, (inputs, layer.weight, layer.bias), upstream)


def products_by_onednn(action) -> int:
    """How many of a layer's products oneDNN computes."""
    with torch.profiler.profile() as profile:
        action()
    return sum(event.name == "mkldnn::_linear_pointwise" for event in profile.events())


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 32, 33])
def test_values_and_gradients_are_those_of_the_plain_layer(rows):
    layer, inputs = layer_and_rows(rows)
    got = passes(layer, inputs, lambda inputs: thin_linear.apply(layer, inputs))
    high = nn.Linear(INPUTS, OUTPUTS, dtype=torch.float64)
    high.load_state_dict(layer.state_dict())
    expected = passes(high, inputs.detach().double().requires_grad_(), high)
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one.double(), other, rtol=0, atol=3e-6 * float(other.detach().abs().max()))


@needs_onednn
@pytest.mark.parametrize(("rows", "products"), [(1, 0), (2, 3), (32, 3), (33, 0)])
def test_few_rows_are_multiplied_by_onednn_in_all_three_products(rows, products):
    layer, inputs = layer_and_rows(rows)
    assert products_by_onednn(lambda: passes(layer, inputs, lambda inputs: thin_linear.apply(layer, inputs))) == products


def test_the_gradient_is_exact_in_float64():
    layer, inputs = layer_and_rows(4, torch.float64)
    expected = passes(layer, inputs, layer)
    assert torch.equal(thin_linear.apply(layer, inputs), expected[0])
    weight = torch.randn(3, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(thin_linear._ThinLinear.apply, (inputs[:, :5].detach().requires_grad_(), weight))
    upstream = torch.randn(4, OUTPUTS, dtype=torch.float64)
    of_inputs, of_weight = torch.autograd.grad(layer(inputs), (inputs, layer.weight), upstream)
    torch.testing.assert_close(thin_linear.input_gradients(upstream, layer.weight), of_inputs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(thin_linear.weight_gradients(upstream, inputs), of_weight, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("frozen", ["neither", "weight", "inputs"])
def test_counts_are_those_of_the_plain_layer(frozen):
    """A product for each gradient that is asked for, and none for others."""
    layer, inputs = layer_and_rows(4)
    layer.weight.requires_grad_(frozen != "weight")
    inputs.requires_grad_(frozen != "inputs")
    counted = []
    for linear in (layer, lambda inputs: thin_linear.apply(layer, inputs)):
        with FlopCounterMode(display=False) as flops:
            linear(inputs).sum().backward()
        counted.append(flops.get_total_flops())
    products = 3 if frozen == "neither" else 2
    assert counted == [2 * 4 * INPUTS * OUTPUTS * products] * 2


def test_passes_have_the_same_bits_each_time_and_gradients_add_up():
    layer, inputs = layer_and_rows(8)
    first, second = (passes(layer, inputs, lambda inputs: thin_linear.apply(layer, inputs)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    for rows in inputs.detach().split(4):  # two microbatches
        thin_linear.apply(layer, rows).square().sum().backward()
    added = layer.weight.grad.clone()
    layer.zero_grad()
    layer(inputs.detach()).square().sum().backward()
    torch.testing.assert_close(added, layer.weight.grad, rtol=1e-5, atol=1e-5 * float(added.abs().max()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_its_row_and_the_gradient(value):
    layer, inputs = layer_and_rows(4)
    inputs.data[1, 7] = value
    found = thin_linear.apply(layer, inputs)
    assert found.isfinite().all(1).tolist() == [True, False, True, True]
    found.sum().backward()
    assert (~layer.weight.grad.isfinite()).nonzero()[:, 1].unique().tolist() == [7]


def test_layers_of_other_classes_compute_themselves():
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    layer, inputs = Doubled(INPUTS, OUTPUTS), torch.randn(4, INPUTS)
    assert torch.equal(thin_linear.apply(layer, inputs), layer(inputs))


@needs_onednn
def test_a_second_derivative_is_refused():
    layer, inputs = layer_and_rows(4)
    (gradient,) = torch.autograd.grad(thin_linear.apply(layer, inputs).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_an_exported_program_has_the_plain_layer():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(INPUTS, OUTPUTS)

        def forward(self, inputs):
            return thin_linear.apply(self.layer, inputs)

    network, inputs = Network(), torch.randn(4, INPUTS)
    program = torch.export.export(network, (inputs,))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert called == {"aten.linear.default"}
    torch.testing.assert_close(program.module()(inputs), F.linear(inputs, network.layer.weight, network.layer.bias))
