import itertools

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mscnn.model import MCNN, thin_linear


def full_size() -> MCNN:
    with torch.device("meta"):  # shapes and counts without 160 MiB of weights
        return MCNN(num_classes=13, gradient="dense")


def test_parameter_count_of_the_published_network():
    assert sum(parameter.numel() for parameter in full_size().parameters()) == 42_577_261


def test_shapes_at_every_stage():
    network, fields = full_size(), torch.empty(2, 3, 1024, 1280, device="meta")
    seen = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: tuple(output.shape)}))
    scores = network(fields)
    sides = [(1024 >> i, 1280 >> i) for i in range(7)]
    for i, channels in enumerate((16, 16, 16, 32, 32, 32, 64)):
        for layer in range(3):
            assert seen[f"branches.{i}.convolutions.{layer}"] == (2, channels, *sides[i])
        assert seen[f"branches.{i}"] == (2, channels, 16, 20)
    assert seen["combine"] == (2, 1024, 16, 20)
    assert network.hidden.in_features == 81_920
    assert network.features(fields).shape == (2, 512)
    assert scores.shape == (2, 13)


def test_operation_counts_per_field():
    network, field = full_size(), torch.empty(1, 3, 1024, 1280, device="meta")
    with FlopCounterMode(display=False) as forward:
        network(field)
    with FlopCounterMode(display=False) as both:
        network(field).sum().backward()
    assert forward.get_total_flops() / 1e9 == pytest.approx(51.40, abs=0.005)
    assert both.get_total_flops() / 1e9 == pytest.approx(149.95, abs=0.005)


def test_any_number_of_channels_and_any_fitting_size():
    network = MCNN(num_classes=4, in_channels=5, height=128, width=256)
    assert network(torch.zeros(1, 5, 128, 256)).shape == (1, 4)


@pytest.mark.parametrize(("height", "width", "below", "above"),
                         [(1080, 1280, "1024x1280", "1152x1280"), (100, 128, "128x128", "crops or pads")])
def test_other_sizes_are_refused_with_the_nearest(height, width, below, above):
    with pytest.raises(ValueError, match=f"{height}x{width}.*{below}.*{above}"):
        MCNN(num_classes=4, height=height, width=width)


def test_fields_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 256, 128\).*\(3, 128, 128\)"):
        MCNN(num_classes=4, height=128, width=128)(torch.zeros(1, 3, 256, 128))


def test_weights_start_xavier_uniform_and_biases_zero():
    torch.manual_seed(0)
    for name, parameter in MCNN(num_classes=13, height=128, width=256).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
            continue
        receptive = parameter[0, 0].numel() if parameter.dim() > 2 else 1
        bound = (6 / (receptive * (parameter.shape[0] + parameter.shape[1]))) ** 0.5  # Glorot and Bengio 2010, eq. 16
        assert parameter.abs().max() <= bound
        spread = bound / 3**0.5
        tolerance = 4 / parameter.numel() ** 0.5  # relative, four standard errors or more
        assert parameter.std().item() == pytest.approx(spread, rel=tolerance)


def test_head_relu_switch():
    torch.manual_seed(0)
    with_relu, without = (MCNN(num_classes=3, height=128, width=128, head_relu=switch) for switch in (True, False))
    without.load_state_dict(with_relu.state_dict())
    field = torch.randn(1, 3, 128, 128)
    linear = without.features(field)
    assert (linear < 0).any()
    torch.testing.assert_close(with_relu.features(field), linear.clamp(min=0))
    torch.testing.assert_close(with_relu(field), with_relu.classify(with_relu.features(field)))


@pytest.mark.parametrize("branch", range(7))
def test_receptive_field_of_each_branch(branch):
    """A grid cell sees its 64 pixels and 6 pooled pixels of 2^i beyond them on each side (three 5x5 convolutions)."""
    network = MCNN(num_classes=2, in_channels=1, height=1024, width=128).branches[branch]
    for parameter in network.parameters():
        parameter.data.fill_(0.01)  # nothing dies in a ReLU, so that every pixel within reach matters

    def cell(field):  # rows 448..511
        return network(torch.nn.functional.max_pool2d(field, 2**branch))[0, 0, 7, 0]

    first, last = 448 - 6 * 2**branch, 511 + 6 * 2**branch
    dark = torch.zeros(1, 1, 1024, 128)
    for row, seen in ((first, True), (first - 1, False), (last, True), (last + 1, False)):
        if 0 <= row < 1024:
            lit = dark.clone()
            lit[0, 0, row, 30] = 1.0
            assert bool(cell(lit) > cell(dark)) == seen, row


def test_the_head_recomputed_by_hand():
    """1x1 convolution, ReLU, 2x2 max-pool, two linear layers with ReLU between, in numpy from the branches' output."""
    torch.manual_seed(2)
    network = MCNN(num_classes=3, in_channels=1, height=128, width=256).double()
    for layer in (network.combine, network.hidden, network.classify):
        torch.nn.init.uniform_(layer.bias, -0.2, 0.2)
    field = torch.randn(1, 1, 128, 256, dtype=torch.float64)
    weight = {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}
    scales = network.scales(field)[0].detach().numpy()
    assert scales.shape == (208, 2, 4)
    combined = np.einsum("oc,chw->ohw", weight["combine.weight"][:, :, 0, 0], scales)
    combined += weight["combine.bias"][:, None, None]
    pooled = _pool(np.maximum(combined, 0), 2).ravel()
    hidden = np.maximum(weight["hidden.weight"] @ pooled + weight["hidden.bias"], 0)
    np.testing.assert_allclose(network.features(field)[0].detach().numpy(), hidden, rtol=1e-12, atol=1e-14)
    scores = weight["classify.weight"] @ hidden + weight["classify.bias"]
    np.testing.assert_allclose(network(field)[0].detach().numpy(), scores, rtol=1e-12)
    # pools matter: neither an average nor a lost ReLU would pass
    assert (combined < 0).any()


@pytest.mark.parametrize("case", ["drawn", "ties", "not a number"])
def test_the_head_pools_before_relu_and_has_the_same_bits(case):
    """ReLU then max-pool, the published order: the same maxima, and the gradient at the same pixel of each window."""
    torch.manual_seed(3)
    network = MCNN(num_classes=3, height=128, width=256)
    scales = torch.randn(2, 208, 2, 4)
    if case == "ties":
        scales[:] = scales[:, :, :1, :1].clone()  # flat maps
    if case == "not a number":
        scales[0, 5, 1, 2] = float("nan")
    gradients = []
    for pooled in (lambda maps: torch.nn.functional.max_pool2d(torch.relu(maps), 2), None):
        own = scales.clone().requires_grad_()
        if pooled:
            features = torch.relu(thin_linear.apply(network.hidden, pooled(network.combine(own)).flatten(1)))
        else:
            features = network.head(own)
        features.sum().backward()
        gradients.append([features, own.grad, network.combine.weight.grad.clone(), network.hidden.weight.grad.clone()])
        network.zero_grad()
    for expected, got in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    assert (case == "not a number") == bool(gradients[1][0].isnan().any())


def test_one_branch_recomputed_by_hand():
    """Branch 5 of a 128x128 field in numpy loops: pools, 5x5 correlations with zero padding, ReLU, pool."""
    torch.manual_seed(1)
    network = MCNN(num_classes=2, in_channels=2, height=128, width=128).double()
    for convolution in network.branches[5].convolutions:
        torch.nn.init.uniform_(convolution.bias, -0.2, 0.2)  # zero biases would hide a missing one
    field = torch.randn(1, 2, 128, 128, dtype=torch.float64)
    start = sum((16, 16, 16, 32, 32))
    got = network.scales(field)[0, start:start + 32].detach().numpy()

    activation = _pool(field[0].numpy(), 32)
    for convolution in network.branches[5].convolutions:
        weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
        padded = np.pad(activation, ((0, 0), (2, 2), (2, 2)))
        result = np.empty((len(weight), *activation.shape[1:]))
        for channel, row, column in itertools.product(*map(range, result.shape)):
            window = padded[:, row:row + 5, column:column + 5]
            result[channel, row, column] = max((window * weight[channel]).sum() + bias[channel], 0.0)
        activation = result
    np.testing.assert_allclose(got, _pool(activation, 2), rtol=1e-12, atol=1e-14)  # sums in another order


def _pool(image: np.ndarray, side: int) -> np.ndarray:
    channels, height, width = image.shape
    return image.reshape(channels, height // side, side, width // side, side).max(axis=(2, 4))


def test_a_downscaled_network_is_that_of_the_averaged_field():
    torch.manual_seed(0)
    field = torch.randn(2, 3, 256, 256)
    small = MCNN(4, 3, 128, 128)
    large = MCNN(4, 3, 256, 256, downscale=2)
    large.load_state_dict(small.state_dict())
    means = field.reshape(2, 3, 128, 2, 128, 2).mean((3, 5))
    torch.testing.assert_close(large(field), small(means), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="multiples of 256, 128 times --downscale 2"):
        MCNN(4, 3, 384, 256, downscale=2)


def test_pooled_features_are_of_the_mean_and_the_maximum_of_each_map():
    torch.manual_seed(0)
    network, field = MCNN(4, 3, 128, 256, pooling="mean-max"), torch.randn(2, 3, 128, 256)
    maps = torch.relu(network.combine(network.scales(field))).flatten(2)
    expected = torch.relu(network.hidden(torch.cat([maps.mean(2), maps.max(2).values], dim=1)))
    torch.testing.assert_close(network.features(field), expected)
    assert sum(parameter.numel() for parameter in MCNN(13, pooling="mean-max").parameters()) < 1.7e6
