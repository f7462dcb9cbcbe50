import torch

from mscnn import accelerate
from mscnn.model import MCNN


def test_the_prepared_network_computes_the_same():
    torch.manual_seed(0)
    network = MCNN(num_classes=3, height=128, width=128)
    fields = torch.randn(2, 3, 128, 128)
    before = network(fields)
    network, report = accelerate.prepare(network)
    torch.testing.assert_close(network(accelerate.place(fields)), before, rtol=1e-4, atol=1e-5)  # sums in another order
    weight = network.branches[0].convolutions[1].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert accelerate.place(fields).is_contiguous(memory_format=torch.channels_last)
    assert report["precision"] == "float32"


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
