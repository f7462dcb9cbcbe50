import pytest
import torch

from mscnn.evaluation.attribution import attribute, background
from mscnn.model import MCNN
from mscnn.model.ways import BRANCH_CHANNELS


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MCNN(3, 2, 128, 128)


@pytest.fixture
def field():
    return torch.randn(2, 128, 128, generator=torch.Generator().manual_seed(1))


def blind_to(network: MCNN, *, channel: int) -> MCNN:
    """Without the weights that read a channel."""
    with torch.no_grad():
        for branch in network.branches:
            branch.convolutions[0].weight[:, channel] = 0
    return network


def test_attributions_sum_to_what_the_field_adds_to_the_score(network, field):
    found = attribute(network, field, 1, steps=64)
    with torch.no_grad():
        plain = torch.stack([field, background(field).expand_as(field)])
        score, baseline = network(plain)[:, 1].tolist()
    assert (found.score, found.baseline_score) == pytest.approx((score, baseline), rel=1e-4)
    gain, tolerance = score - baseline, 0.05 * abs(score - baseline)  # ReLUs and maxima have kinks between the 64 steps
    assert abs(gain) > 1e-2
    assert found.channels_CHW.shape == (2, 128, 128)
    assert found.scales_7hw.shape == (7, 2, 2)
    assert found.channels_CHW.sum().item() == pytest.approx(gain, abs=tolerance)
    assert found.scales_7hw.sum().item() == pytest.approx(gain, abs=tolerance)


def test_a_channel_that_the_network_does_not_read_has_no_part(network, field):
    found = attribute(blind_to(network, channel=0), field, 0, steps=4)
    assert (found.channels_CHW[0] == 0).all()
    assert found.channels_CHW[1].abs().sum() > 0


@pytest.mark.parametrize("seen", [0, 3, 6])
def test_a_scale_that_the_network_alone_reads_has_every_part(network, field, seen):
    with torch.no_grad():
        for number, columns in enumerate(network.combine.weight.split(BRANCH_CHANNELS, dim=1)):
            if number != seen:
                columns.zero_()
    parts = attribute(network, field, 2, steps=4).scales_7hw.abs().sum(dim=(1, 2))
    assert parts[seen] > 0
    assert parts.sum() == parts[seen]


def test_an_object_in_a_corner_is_where_attribution_lies():
    torch.manual_seed(0)
    field = torch.zeros(2, 256, 256)
    field[:, 8:56, 200:248] = torch.randn(2, 48, 48).abs() + 1
    found = attribute(MCNN(3, 2, 256, 256), field, 0, steps=8)
    outside = torch.ones(256, 256, dtype=torch.bool)
    outside[8:56, 200:248] = False
    assert (found.channels_CHW[:, outside] == 0).all()  # there the field is its background
    assert found.channels_CHW[:, ~outside].abs().sum() > 0
    finest_hw = found.scales_7hw[0]  # its three convolutions reach 6 pixels further; the coarsest ones reach everywhere
    assert finest_hw[0, 3].abs() > 0
    assert finest_hw.abs().sum() == finest_hw[0, 3].abs()


def test_attribution_leaves_the_network_as_it_was(network, field):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attribute(network, field, 0, steps=2)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
