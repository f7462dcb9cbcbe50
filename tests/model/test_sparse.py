import pytest
import torch
import torch.nn.functional as F

from mscnn.model import MCNN, sparse
from mscnn.model.sparse import SparseBranch


def parameters(in_channels: int, channels: int) -> list[torch.Tensor]:
    shapes = [(channels, in_channels, 5, 5), (channels,), *[(channels, channels, 5, 5), (channels,)] * 2]
    return [(torch.randn(shape, dtype=torch.float64) * 0.25).requires_grad_() for shape in shapes]


def dense(field: torch.Tensor, pool: int, own: list[torch.Tensor]) -> torch.Tensor:
    for layer in range(3):
        field = F.relu(F.conv2d(field, *own[2 * layer:2 * layer + 2], padding=2))
    return F.max_pool2d(field, pool)


def compare(field: torch.Tensor, pool: int, own: list[torch.Tensor], upstream: torch.Tensor | None = None):
    expected, got = dense(field, pool, own), SparseBranch.apply(field, pool, False, *own)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(expected) if upstream is None else upstream
    wanted = torch.autograd.grad(expected, own, upstream)
    for gradient, right in zip(torch.autograd.grad(got, own, upstream), wanted, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-10 * float(right.abs().max()))
    return wanted


@pytest.mark.parametrize("rows", [1, 40, 1 << 20])  # one window of rows a strip, an uneven last strip, a single strip
@pytest.mark.parametrize(("shape", "pool", "channels"), [
    ((2, 3, 128, 192), 64, 4), ((1, 2, 96, 64), 32, 3), ((2, 1, 64, 64), 16, 5), ((1, 3, 16, 24), 2, 2),
    ((1, 1, 8, 8), 8, 3)])
def test_gradients_are_those_of_the_dense_branch(monkeypatch, shape, pool, channels, rows):
    torch.manual_seed(0)
    monkeypatch.setattr(sparse, "STRIP_PIXELS", rows * shape[3])
    monkeypatch.setattr(sparse, "CHUNK", 7)
    compare(torch.randn(shape, dtype=torch.float64), pool, parameters(shape[1], channels))


def test_maxima_on_every_border_and_in_every_corner():
    """Small windows, so that each border pixel is the maximum of one: activations beyond the field are 0, not conv(0)."""
    torch.manual_seed(1)
    for pool in (1, 2):
        own = parameters(1, 2)
        for bias in own[1::2]:
            bias.data += 0.5  # makes conv(0) + bias positive
        compare(torch.randn(1, 1, 16, 16, dtype=torch.float64), pool, own)


def test_ties_go_to_the_same_pixel():
    torch.manual_seed(2)
    own = parameters(2, 4)
    compare(torch.ones(1, 2, 64, 64, dtype=torch.float64), 16, own)
    compare(torch.randint(0, 2, (1, 2, 64, 64)).double().repeat_interleave(8, 2)[:, :, :64], 16, own)


def test_dead_windows_pass_nothing():
    torch.manual_seed(3)
    own = parameters(1, 3)
    own[5].data.fill_(-100.0)  # the last ReLU is shut everywhere
    assert not any(gradient.any() for gradient in compare(torch.randn(1, 1, 32, 32, dtype=torch.float64), 16, own))
    own[5].data[0] = 1.0       # one channel lives
    assert compare(torch.randn(1, 1, 32, 32, dtype=torch.float64), 16, own)[5].tolist()[1:] == [0, 0]


def test_windows_without_upstream_gradient_pass_nothing():
    torch.manual_seed(4)
    upstream = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    upstream[0, 1, 0, 1] = 2.0
    compare(torch.randn(1, 1, 32, 32, dtype=torch.float64), 16, parameters(1, 3), upstream)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_whole_network_trains_the_same(layout):
    torch.manual_seed(5)
    networks = {gradient: MCNN(5, 2, 128, 256, gradient=gradient).double().to(memory_format=layout)
                for gradient in ("dense", "sparse", "auto")}
    fields = torch.randn(3, 2, 128, 256, dtype=torch.float64).to(memory_format=layout)
    losses = {}
    for gradient, network in networks.items():
        network.load_state_dict(networks["dense"].state_dict())
        losses[gradient] = F.cross_entropy(network(fields), torch.tensor([0, 3, 4]))
        losses[gradient].backward()
    for gradient in ("sparse", "auto"):
        torch.testing.assert_close(losses[gradient], losses["dense"], rtol=1e-12, atol=0)
        for right, parameter in zip(networks["dense"].parameters(), networks[gradient].parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, right.grad, rtol=1e-10, atol=1e-10 * float(right.grad.abs().max()))


def test_attribution_still_gets_gradients_of_the_field():
    torch.manual_seed(6)
    network = MCNN(3, 1, 128, 128).double()
    field = torch.randn(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    network(field)[0, 1].backward()
    step = torch.zeros_like(field)
    step[0, 0, 40, 50] = 1e-6
    with torch.no_grad():
        slope = (network(field + step) - network(field - step))[0, 1] / 2e-6
    torch.testing.assert_close(field.grad[0, 0, 40, 50], slope, rtol=1e-4, atol=1e-9)


def test_both_passes_run_in_the_precision_of_autocast():
    """bf16 rounds to 8 bits: gradients near those of float64, and not those of float32."""
    torch.manual_seed(7)
    own = [parameter.float().detach().requires_grad_() for parameter in parameters(3, 8)]
    field, upstream = torch.randn(1, 3, 128, 128), torch.randn(1, 8, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        maxima = SparseBranch.apply(field, 64, False, *own)
    low = torch.autograd.grad(maxima, own, upstream.to(maxima.dtype))
    high = torch.autograd.grad(SparseBranch.apply(field, 64, False, *own), own, upstream)
    assert maxima.dtype == torch.bfloat16
    for rough, exact in zip(low, high, strict=True):
        assert rough.dtype == torch.float32
        similarity = F.cosine_similarity(rough.flatten(), exact.flatten(), dim=0)
        assert similarity > 0.9  # the largest pixel of a window may be another one among near ties
        assert not torch.equal(rough, exact)


def test_the_number_of_patches_takes_few_values(monkeypatch):
    """oneDNN keeps kernels for each number of patches that it meets, and a training meets a new one each step."""
    torch.manual_seed(8)
    seen, gather = set(), sparse.gather
    monkeypatch.setattr(sparse, "gather", lambda *given: seen.add(len(given[1])) or gather(*given))
    own = parameters(1, 3)
    own[5].data -= 1.0  # some windows are dead, more or fewer by chance
    for _ in range(12):
        compare(torch.randn(1, 1, 64, 64, dtype=torch.float64), 8, own)
    assert seen <= {sparse.ROUND, 2 * sparse.ROUND}  # of at most 192 that live


def test_nothing_but_maxima_is_kept_for_the_backward_pass():
    kept = []
    field = torch.randn(1, 3, 256, 256)
    own = [parameter.float().detach().requires_grad_() for parameter in parameters(3, 16)]
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        SparseBranch.apply(field, 64, False, *own)
    others = sum(tensor.numel() for tensor in kept if tensor.data_ptr() != field.data_ptr())
    assert others == 2 * 16 * 4 * 4 + sum(parameter.numel() for parameter in own)
