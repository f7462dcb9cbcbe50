"""The compiled kernel against the dense branch in float64; what keeps it from being used is said."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.memory import LiveBytes
from mscnn.model import MCNN, kernel, sparse
from mscnn.model.sparse import SparseBranch, WinogradBranch
from mscnn.model.ways import COMPILED, DENSE, WINOGRAD

needs_kernel = pytest.mark.skipif(not kernel.available()[0], reason=f"no compiled kernel: {kernel.available()[1]}")
CAPABILITY = torch.backends.cpu.get_cpu_capability()


@pytest.fixture(params=[name for name in kernel.VECTORS if CAPABILITY in (name, "AVX512")])  # AVX-512 can do AVX2 too
def vectors(request, monkeypatch):
    """Each kernel that this CPU can run, in turn."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    kernel._library.cache_clear()
    yield request.param
    kernel._library.cache_clear()


def parameters(in_channels: int, channels: int = 16) -> list[torch.Tensor]:
    shapes = [(channels, in_channels, 5, 5), (channels,), *[(channels, channels, 5, 5), (channels,)] * 2]
    scales = [(2 / (25 * shape[1])) ** 0.5 if len(shape) > 1 else 0.1 for shape in shapes]
    return [(torch.randn(shape) * scale).requires_grad_() for shape, scale in zip(shapes, scales, strict=True)]


def dense(field: torch.Tensor, pool: int, own: list[torch.Tensor]) -> torch.Tensor:
    for layer in range(3):
        field = F.relu(F.conv2d(field, *own[2 * layer:2 * layer + 2], padding=2))
    return F.max_pool2d(field, pool)


def by_patches(field: torch.Tensor, pool: int, own: list[torch.Tensor]) -> torch.Tensor:
    return SparseBranch.apply(field, pool, True, *own)


def over_all_pixels(field: torch.Tensor, pool: int, own: list[torch.Tensor]) -> torch.Tensor:
    return WinogradBranch.apply(field, pool, *own)


def compare(field: torch.Tensor, pool: int, own: list[torch.Tensor], upstream: torch.Tensor | None = None):
    """Kernel in float32, by patches and over all pixels, against PyTorch's dense branch in float64: up to rounding."""
    high = [parameter.detach().double().requires_grad_() for parameter in own]
    expected = dense(field.double(), pool, high)
    upstream = torch.randn(expected.shape) if upstream is None else upstream
    wanted = torch.autograd.grad(expected, high, upstream.double())
    for way in (by_patches, over_all_pixels):
        if way is over_all_pixels:
            wanted_here = torch.autograd.grad(at_its_kinks(field, pool, own, high), high, upstream.double())
        elif len(own[0]) == 16:
            wanted_here = wanted
        else:
            continue
        got = way(field, pool, own)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5 * float(expected.detach().abs().max()))
        for gradient, right in zip(torch.autograd.grad(got, own, upstream), wanted_here, strict=True):
            torch.testing.assert_close(gradient.double(), right, rtol=0, atol=3e-5 * float(right.abs().max()))
    return wanted


def at_its_kinks(field: torch.Tensor, pool: int, own: list[torch.Tensor], high: list[torch.Tensor]) -> torch.Tensor:
    """The dense branch in float64 with the signs of activations and the places of maxima that the kernel found.

    Among some millions of activations a few are nearer to zero than rounding: their gradient is that of either side.
    """
    maxima, places, *activations = kernel.pooled_kept(field, [part.detach() for part in own], pool)
    values = field.double()
    for layer, found in enumerate(activations):
        values = F.conv2d(values, *high[2 * layer:2 * layer + 2], padding=2)
        torch.testing.assert_close(found.double(), F.relu(values), rtol=0, atol=1e-5 * float(values.detach().abs().max()))
        values = values * (found > 0)
    values = F.conv2d(values, *high[4:], padding=2).flatten(2).gather(2, places.flatten(2).long())
    return values.view(maxima.shape) * (maxima > 0)


@needs_kernel
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [16, 32])
@pytest.mark.parametrize(("shape", "pool"), [
    ((2, 3, 128, 192), 64),     # windows as in branch 0
    ((1, 1, 64, 640), 32),      # blocks of 256, 256 and 128 columns
    ((3, 5, 64, 288), 16),      # five channels; a last block of 32 columns
    ((1, 1, 8, 48), 8),         # 13 and 12 tiles, beside half a run
    ((1, 4, 32, 16), 8), ((2, 2, 4, 8), 4), ((1, 17, 8, 4), 4)])  # smaller than a patch; more channels than lanes
def test_values_and_gradients_are_those_of_the_dense_branch(shape, pool, channels, layout, threads):
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compare(torch.randn(shape).to(memory_format=layout), pool, parameters(shape[1], channels))
    finally:
        torch.set_num_threads(before)


@needs_kernel
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("channels", [16, 32])
def test_maxima_on_every_border_and_in_every_corner(channels):
    """Small windows, so that border pixels are maxima: activations beyond the field are 0, not what filters make of 0."""
    torch.manual_seed(1)
    own = parameters(1, channels)
    for bias in own[1::2]:
        bias.data += 0.5
    field = torch.randn(1, 1, 16, 24)
    compare(field, 4, own)
    places = kernel.pooled(field, [part.detach() for part in own], 4)[1]
    rows, columns = places // 24, places % 24
    assert {0, 15} <= set(rows.flatten().tolist())
    assert {0, 23} <= set(columns.flatten().tolist())


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_places_are_where_the_maxima_are():
    torch.manual_seed(2)
    field, own = torch.randn(2, 3, 64, 320), parameters(3)
    maxima, places = kernel.pooled(field, [part.detach() for part in own], 32)
    right, expected = sparse.pooled(field.double(), [part.detach().double() for part in own], 32)
    torch.testing.assert_close(maxima.double(), right, rtol=0, atol=1e-5 * float(right.max()))
    assert torch.equal(places.long(), expected)  # no two pixels of a window as near as rounding, for this seed


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_dead_windows_and_windows_without_upstream_gradient_pass_nothing():
    torch.manual_seed(3)
    field, own = torch.randn(1, 2, 32, 32), parameters(2)
    own[5].data.fill_(-100.0)  # the last ReLU is shut everywhere
    assert not any(gradient.any() for gradient in compare(field, 16, own))
    for way in (by_patches, over_all_pixels):
        assert not any(gradient.any() for gradient in torch.autograd.grad(way(field, 16, own).sum(), own))
    own[5].data[:] = 0.1
    upstream = torch.zeros(1, 16, 2, 2)
    assert not any(gradient.any() for gradient in compare(field, 16, own, upstream))
    upstream[0, 1, 0, 1] = 2.0
    assert compare(field, 16, own, upstream)[5].nonzero().tolist() == [[1]]


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_ties_get_one_gradient():
    """A flat field has the same value at all inner pixels; whichever is taken, its patch is the same."""
    torch.manual_seed(4)
    compare(torch.ones(1, 2, 96, 96)[:, :, :96], 32, parameters(2))


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_channels_with_their_maxima_at_one_place_share_its_patch():
    torch.manual_seed(14)
    field, own = torch.randn(1, 2, 64, 64), parameters(2)
    own[4].data[[3, 8, 15]] = own[4].data[2].clone()
    own[5].data[[2, 3, 8, 15]] = torch.tensor([0.1, 0.2, -100.0, 0.3])  # channel 8 is dead
    upstream = torch.randn(1, 16, 4, 4)
    upstream[0, 3, 1] = 0.0
    places = kernel.pooled(field, [part.detach() for part in own], 16)[1]
    assert torch.equal(places[0, 2], places[0, 15])
    gradients = compare(field, 16, own, upstream)
    assert not gradients[4][8].any()
    assert gradients[4][[2, 3, 15]].any(dim=(1, 2, 3)).all()


@needs_kernel
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", ["field", "weight", "bias"])
def test_what_is_not_finite_is_never_lost_in_a_maximum(value, at):
    torch.manual_seed(5)
    field, own = torch.randn(1, 1, 64, 64), [part.detach() for part in parameters(1)]
    {"field": field[0, 0, 40], "weight": own[2][3, 2, 1], "bias": own[5]}[at][1] = value
    maxima, _ = kernel.pooled(field, own, 32)
    assert not maxima.isfinite().all()


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_the_same_threads_give_the_same_bits():
    torch.manual_seed(6)
    field, own = torch.randn(2, 3, 64, 64), parameters(3)
    upstream = torch.randn(2, 16, 4, 4)
    for way in (by_patches, over_all_pixels):
        runs = [torch.autograd.grad(way(field, 16, own), own, upstream) for _ in range(3)]
        for again in runs[1:]:
            assert all(torch.equal(one, other) for one, other in zip(runs[0], again, strict=True))


@needs_kernel
def test_other_precisions_than_float32_take_the_way_of_pytorch():
    torch.manual_seed(7)
    field, own = torch.randn(1, 2, 32, 32).double(), [part.detach().double().requires_grad_() for part in parameters(2)]
    torch.testing.assert_close(SparseBranch.apply(field, 16, True, *own), dense(field, 16, own), rtol=1e-12, atol=1e-12)
    with torch.autocast("cpu", torch.bfloat16):  # the kernel computes in float32, which is more than asked for
        got = SparseBranch.apply(field.float(), 16, True, *(part.float() for part in own))
    torch.testing.assert_close(got.double(), dense(field, 16, own), rtol=0, atol=1e-4)


@needs_kernel
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize(("gradient", "ways"), [("sparse", (COMPILED,) * 3), ("winograd", (WINOGRAD,) * 5),
                                                ("auto", (COMPILED, *[WINOGRAD] * 4))])
def test_the_whole_network_trains_the_same(gradient, ways):
    torch.manual_seed(8)
    compiled, plain = MCNN(5, 2, 128, 256, gradient=gradient), MCNN(5, 2, 128, 256, gradient="dense", kernel="torch")
    compiled.load_state_dict(plain.state_dict())
    assert compiled.ways()[:len(ways)] == ways
    assert plain.ways() == (DENSE,) * 7
    fields, losses = torch.randn(3, 2, 128, 256), []
    for network in (compiled, plain):
        losses.append(F.cross_entropy(network(fields), torch.tensor([0, 3, 4])))
        losses[-1].backward()
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    for right, parameter in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, right.grad, rtol=0, atol=1e-4 * float(right.grad.abs().max()))


@needs_kernel
def test_prediction_keeps_no_activations_and_gives_the_same():
    torch.manual_seed(15)
    network, fields = MCNN(5, 2, 128, 128, gradient="winograd"), torch.randn(1, 2, 128, 128)
    trained = network(fields)
    with LiveBytes() as kept:
        network.branches[0](fields)
    with torch.no_grad(), LiveBytes() as live:
        network.branches[0](fields)
    assert live.peak() < 2**16 < kept.peak() - 2 * 16 * 128 * 128 * 4 + 2**16
    with torch.no_grad():
        assert torch.equal(network(fields), trained)


@needs_kernel
def test_operations_are_counted():
    """By hand: 32x32 pixels of 25 * 2 * 16 products and two layers of 64 * 256 a tile of 16; by patches, 64 maxima of two
    passes over 81 pixels and two over 25; over all pixels, 64 * 256 a tile twice, the first layer once, and 64 maxima of
    two passes over 25 * 16."""
    field, own, forward = torch.randn(1, 2, 32, 32), parameters(2), 1024 * (800 + 2048)
    backward = {by_patches: 64 * (2 * 81 * 800 + 2 * 25 * 6400), over_all_pixels: forward + 64 * 2 * 25 * 16}
    for way, products in backward.items():
        with FlopCounterMode(display=False) as flops:
            maxima = way(field, 16, own)
        assert flops.get_total_flops() == 2 * forward
        with FlopCounterMode(display=False) as flops:
            maxima.sum().backward()
        assert flops.get_total_flops() == 2 * products


@needs_kernel
def test_the_compiler_of_torch_can_trace_around_it():
    field, own = torch.randn(1, 2, 32, 32), [part.detach() for part in parameters(2)]
    maxima, places, *activations = kernel.pooled_kept(field, own, 16)
    upstream = torch.randn_like(maxima)
    torch.library.opcheck(torch.ops.mscnn.pooled, (field, own, 16))
    torch.library.opcheck(torch.ops.mscnn.pooled_kept, (field, own, 16))
    torch.library.opcheck(torch.ops.mscnn.patch_gradients, (field, maxima, places, upstream, own, 16))
    torch.library.opcheck(torch.ops.mscnn.pixel_gradients, (field, maxima, places, *activations, upstream, own, 16))


@needs_kernel
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_near(value):
    torch.manual_seed(9)
    field, own = torch.randn(2, 1, 64, 288), [part.detach() for part in parameters(1)]
    clean = kernel.pooled(field, own, 8)[0]
    field[0, 0, 20, 20] = value
    far = torch.ones_like(clean, dtype=torch.bool)
    far[0, :, :5, :5] = False  # 6 pixels and the tiles that they touch
    assert torch.equal(kernel.pooled(field, own, 8)[0][far], clean[far])


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_values_far_below_zero_are_compared_before_the_bias():
    torch.manual_seed(10)
    own = parameters(1)
    own[4].data = -10 * own[4].data.abs()
    own[5].data += 500.0
    compare(torch.randn(1, 1, 32, 32), 8, own)


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_gradients_that_are_not_finite_reach_all_parameters():
    torch.manual_seed(12)
    field, own, upstream = torch.randn(1, 1, 32, 32), parameters(1), torch.zeros(1, 16, 2, 2)
    upstream[0, :, 1, 1] = float("nan")
    for way in (by_patches, over_all_pixels):
        assert all(gradient.isnan().any() for gradient in torch.autograd.grad(way(field, 16, own), own, upstream))


@needs_kernel
@pytest.mark.usefixtures("vectors")
def test_no_field_gives_nothing():
    own = parameters(1)
    for way in (by_patches, over_all_pixels):
        maxima = way(torch.empty(0, 1, 32, 32), 8, own)
        assert maxima.shape == (0, 16, 4, 4)
        assert not any(gradient.any() for gradient in torch.autograd.grad(maxima.sum(), own))


def test_what_it_cannot_do_is_not_given_to_it():
    assert [kernel.computes(16, pool) for pool in (2, 4, 12, 256, 512)] == [False, True, False, True, False]
    assert [kernel.computes(channels, 8) for channels in (8, 16, 32, 64)] == [False, True, True, False]
    assert [kernel.computes_patches(channels, 8) for channels in (16, 32)] == [True, False]
    own = [part.detach() for part in parameters(1)]
    for shape in ((1, 1, 65536, 32768), (1, 1, 32, 40), (1, 2, 32, 32)):  # places beyond int32; no fit; other channels
        with pytest.raises(AssertionError):
            kernel._shape(torch.empty(shape, device="meta"), own, 16)
    with pytest.raises(AssertionError):
        kernel._shape(torch.empty(1, 1, 32, 32), [part.double() for part in own], 16)


def test_only_the_cpu_or_a_missing_compiler_keeps_the_kernel_away():
    usable, why = kernel.available()
    assert usable or why.startswith(("no C++ compiler", "neither AVX")), why  # a kernel that fails to compile is a fault


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")  # any x86 compiler can make that
    kernel._library.cache_clear()
    yield tmp_path
    kernel._library.cache_clear()


def test_a_cpu_without_avx2_is_said(fresh, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert kernel.available() == (False, "neither AVX-512 nor AVX2 in this CPU")
    assert COMPILED not in MCNN(2, 1, 128, 128).ways()


def test_a_machine_without_compiler_is_said(fresh, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert kernel.available() == (False, "no C++ compiler; install g++")
    assert kernel.report("auto") == {"asked": "auto", "used": "torch", "why": "no C++ compiler; install g++"}


def test_a_compiler_that_fails_is_said_with_its_first_line(fresh, monkeypatch):
    (fresh / "broken.cpp").write_text("#error this will not do\n")
    monkeypatch.setattr(kernel, "SOURCE", fresh / "broken.cpp")
    usable, why = kernel.available()
    assert not usable
    assert "this will not do" in why
    assert list((fresh / "cache").iterdir()) == []


@needs_kernel
def test_a_folder_that_cannot_be_written_is_said_and_the_kernel_is_compiled_for_the_process_alone(fresh):
    (fresh / "cache").write_text("a file")
    usable, why = kernel.available()
    assert usable, why
    assert why.startswith(f"AVX2: compiled for this process alone: {fresh / 'cache'} cannot be used")


@needs_kernel
def test_what_is_compiled_depends_on_source_and_flags(fresh, monkeypatch):
    monkeypatch.setattr(kernel, "SOURCE", fresh / "other.cpp")
    for source, flags in (("int one;", ()), ("int two;", ()), ("int two;", ("-O0",))):
        kernel.SOURCE.write_text(source)
        monkeypatch.setattr(kernel, "FLAGS", ("-fPIC", *flags))
        kernel._library.cache_clear()
        assert kernel.available()[0]
    assert len(list((fresh / "cache").iterdir())) == 3


@needs_kernel
def test_it_is_compiled_once(fresh):
    assert kernel.report("torch") == {"asked": "torch", "used": "torch", "why": "as asked"}
    assert not (fresh / "cache").exists()
    assert kernel.report("auto")["used"] == "compiled C++"
    made = list((fresh / "cache").iterdir())
    assert len(made) == 1
    time = made[0].stat().st_mtime_ns
    kernel._library.cache_clear()
    assert kernel.available()[0]
    assert [path.stat().st_mtime_ns for path in (fresh / "cache").iterdir()] == [time]
