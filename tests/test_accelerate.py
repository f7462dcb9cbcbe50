import pytest
import torch

from mscnn import accelerate
from mscnn.model import MCNN


def test_the_prepared_network_computes_the_same():
    torch.manual_seed(0)
    network = MCNN(num_classes=3, height=128, width=128)
    fields = torch.randn(2, 3, 128, 128)
    before = network(fields)
    acceleration = accelerate.Acceleration()
    network = acceleration.prepare(network)
    torch.testing.assert_close(network(acceleration.place(fields)), before, rtol=1e-4, atol=1e-5)  # sums in another order
    weight = network.branches[0].convolutions[1].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert acceleration.place(fields).is_contiguous(memory_format=torch.channels_last)
    plain = accelerate.Acceleration(channels_last=False)
    assert plain.prepare(network).branches[0].convolutions[1].weight.is_contiguous()


@pytest.mark.parametrize(("asked", "flags", "used"), [
    ("float32", {"avx512_bf16"}, "float32"), ("bfloat16", {"avx512f", "avx512_bf16"}, "bfloat16"),
    ("bfloat16", {"amx_bf16"}, "bfloat16"), ("bfloat16", {"avx512f"}, "float32"), ("bfloat16", set(), "float32")])
def test_bfloat16_is_used_where_the_cpu_has_it_and_refused_aloud_elsewhere(asked, flags, used):
    acceleration, report = accelerate.choose(asked, frozenset(flags))
    assert (acceleration.precision, report["asked"], report["used"]) == (used, asked, used)
    assert ("no AVX512_BF16" in report["why"]) == (asked != used)


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_and_gradients_in_float32():
    torch.manual_seed(0)
    acceleration = accelerate.Acceleration("bfloat16")
    network = acceleration.prepare(MCNN(num_classes=3, height=128, width=128))
    fields = acceleration.place(torch.randn(2, 3, 128, 128))
    with acceleration.autocast():
        scores = network(fields)
    scores.float().sum().backward()
    assert scores.dtype == torch.bfloat16
    assert {parameter.grad.dtype for parameter in network.parameters()} == {torch.float32}
    torch.testing.assert_close(scores.float(), network(fields), rtol=0.1, atol=0.02)  # 8 bits of mantissa, 10 layers


def test_three_optimiser_steps_by_hand():
    """Nesterov as in Sutskever et al. 2013 in PyTorch's form: g += decay * w; v = mu * v + g; w -= lr * (g + mu * v)."""
    layer = torch.nn.Linear(1, 1, bias=True)
    weights = {name: parameter.item() for name, parameter in layer.named_parameters()}
    velocity = dict.fromkeys(weights, 0.0)
    optimiser = accelerate.optimiser(layer, momentum=0.9, weight_decay=0.1)
    for rate, gradient in ((0.1, 1.0), (0.2, -2.0), (0.05, 0.5)):
        optimiser.param_groups[0]["lr"] = rate
        for name, parameter in layer.named_parameters():
            parameter.grad = torch.full_like(parameter, gradient)
            decayed = gradient + 0.1 * weights[name]  # biases decay as well
            velocity[name] = 0.9 * velocity[name] + decayed
            weights[name] -= rate * (decayed + 0.9 * velocity[name])
        optimiser.step()
    for name, parameter in layer.named_parameters():
        assert abs(parameter.item() - weights[name]) < 1e-6  # float32
