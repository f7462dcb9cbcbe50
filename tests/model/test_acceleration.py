import json
import re
import sys

import pytest
import torch
import torch.nn.functional as F

from mscnn.core import machine
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration, choose_acceleration, ipex_error, nesterov_sgd
from mscnn.model.ways import DENSE
from mscnn.training import checkpoint
from tests.conftest import run_python

IPEX = "intel_extension_for_pytorch"


def test_the_prepared_network_computes_the_same():
    torch.manual_seed(0)
    network = MCNN(num_classes=3, height=128, width=128)
    fields = torch.randn(2, 3, 128, 128)
    before = network(fields)
    acceleration = Acceleration()
    network = acceleration.prepare(network)
    torch.testing.assert_close(network(acceleration.place(fields)), before, rtol=1e-4, atol=1e-5)  # sums in another order
    weight = network.branches[0].convolutions[1].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert acceleration.place(fields).is_contiguous(memory_format=torch.channels_last)
    plain = Acceleration(channels_last=False)
    assert plain.prepare(network).branches[0].convolutions[1].weight.is_contiguous()


@pytest.mark.parametrize(("asked", "flags", "used"), [
    ("float32", {"avx512_bf16"}, "float32"), ("bfloat16", {"avx512f", "avx512_bf16"}, "bfloat16"),
    ("bfloat16", {"amx_bf16"}, "bfloat16"), ("bfloat16", {"avx512f"}, "float32"), ("bfloat16", set(), "float32")])
def test_bfloat16_is_used_where_the_cpu_has_it_and_refused_aloud_elsewhere(asked, flags, used):
    acceleration, reports = choose_acceleration("auto", asked, frozenset(flags))
    report = reports["precision"]
    assert (acceleration.precision, report["asked"], report["used"]) == (used, asked, used)
    assert ("no AVX512_BF16" in report["why"]) == (asked != used)


def test_auto_is_native():
    for asked in ("auto", "native"):
        acceleration, reports = choose_acceleration(asked, "float32", frozenset())
        report = reports["accelerate"]
        assert (acceleration.backend, report["asked"], report["used"]) == ("native", asked, "native")


def pretended_ipex(folder, monkeypatch, code: str | None) -> None:
    """A package of IPEX's name whose import runs this code; None: no such package."""
    monkeypatch.setitem(sys.modules, IPEX, None)  # so that the end of the test puts things back
    monkeypatch.delitem(sys.modules, IPEX)
    monkeypatch.setattr(sys, "path", [str(folder), *(["/none"] if code is None else sys.path)])
    if code is not None:
        (folder / f"{IPEX}.py").write_text(code)


@pytest.mark.parametrize(("code", "why"), [
    (None, "no intel_extension_for_pytorch here; requirements-ipex.txt makes an environment for it"),
    ("import absent\n", r"cannot be imported beside torch .*No module named 'absent'"),
    ("import os\nos.exit(127)\n", r"cannot be imported beside torch .*module 'os' has no attribute 'exit'.*requirements-")])
def test_without_ipex_it_is_native_and_said(tmp_path, monkeypatch, code, why):
    """IPEX 2.8 leaves by os.exit, which is no function, where it finds another torch than its own."""
    pretended_ipex(tmp_path, monkeypatch, code)
    acceleration, reports = choose_acceleration("ipex", "float32", frozenset())
    report = reports["accelerate"]
    assert (acceleration.backend, report["asked"], report["used"]) == ("native", "ipex", "native")
    assert re.search(why, report["why"])


def test_ipex_is_asked_for_by_nothing_more_than_its_name(tmp_path, monkeypatch):
    pretended_ipex(tmp_path, monkeypatch, "")
    assert choose_acceleration("ipex", "float32", frozenset())[1]["accelerate"] == {
        "asked": "ipex", "used": "ipex", "why": "as asked"}


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_and_gradients_in_float32():
    torch.manual_seed(0)
    acceleration = Acceleration("bfloat16")
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
    optimiser = nesterov_sgd(layer, momentum=0.9, weight_decay=0.1)
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


def three_steps(backend: str, precision: str) -> tuple[dict, dict, dict, torch.Tensor]:
    """Weights before and after, the optimiser's state and scores, of a network whose first branches are sparse."""
    torch.manual_seed(0)
    acceleration = Acceleration(precision, backend=backend)
    network = acceleration.prepare(MCNN(3, 2, 256, 256))
    assert {DENSE} < set(network.ways())  # both kinds
    optimiser = nesterov_sgd(network, momentum=0.9, weight_decay=1e-3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    acceleration.take_over(network, optimiser)
    optimiser.param_groups[0]["lr"] = 0.01
    fields, labels = torch.randn(4, 2, 256, 256), torch.tensor([0, 1, 2, 0])
    parts = slice(0, 2), slice(2, 4)
    for _ in range(3):
        for part in parts:  # gradients are accumulated over microbatches
            with acceleration.autocast():
                scores = network(acceleration.place(fields[part]))
            (F.cross_entropy(scores.float(), labels[part]) / 2).backward()
        optimiser.step()
        optimiser.zero_grad()
    network.eval()
    with torch.inference_mode(), acceleration.autocast():
        scores = torch.cat([network(acceleration.place(fields[part])).float() for part in parts])
    return before, network.state_dict(), optimiser.state_dict(), scores


@pytest.mark.parametrize(("precision", "loose"), [("float32", 1e-3), ("bfloat16", 0.4)])
def test_ipex_takes_the_steps_of_the_native_backend(precision, loose):
    """And what it saves is float32 in the native shapes, weights and momenta, so that either loads the other's.

    loose: how far off a parameter's path may end, as a share of the path.  Sums come in another order; in bfloat16, IPEX
    rounds gradients as well, which takes it 0.25 off (native bfloat16 is 0.57 off float32; half a minibatch would be 0.5).
    """
    if error := ipex_error():
        pytest.skip(error)
    report = choose_acceleration("native", precision, machine.feature_flags())[1]["precision"]
    if report["used"] != precision:  # it packs bfloat16 weights on a CPU with bfloat16 only
        pytest.skip(report["why"])
    before, weights, state, scores = three_steps("ipex", precision)
    _, expected, expected_state, expected_scores = three_steps("native", precision)
    assert list(weights) == list(expected)
    for name, value in weights.items():
        assert (value.dtype, value.shape) == (torch.float32, expected[name].shape)
        moved = (expected[name] - before[name]).norm()
        assert moved > 0
        assert (value - expected[name]).norm() <= loose * moved, name
    torch.testing.assert_close(scores, expected_scores, rtol=1e-2, atol=0.05 * loose)
    assert state["param_groups"] == expected_state["param_groups"]
    momenta, wanted = ([entry["momentum_buffer"] for entry in one["state"].values()] for one in (state, expected_state))
    assert [(one.dtype, one.shape) for one in momenta] == [(torch.float32, one.shape) for one in wanted]
    momenta, wanted = (torch.cat([one.flatten() for one in all_of_them]) for all_of_them in (momenta, wanted))
    assert (momenta - wanted).norm() <= loose * wanted.norm()
    native = MCNN(3, 2, 256, 256)
    native.load_state_dict(weights)
    taken = Acceleration(precision, backend="ipex")
    other = taken.prepare(MCNN(3, 2, 256, 256))
    taken.take_over(other, nesterov_sgd(other, momentum=0.9, weight_decay=0.0))
    other.load_state_dict(native.state_dict())
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_training_on_two_ranks_says_what_it_uses_and_saves_plain_weights(tiny_screen):
    """Where IPEX cannot be had the backend is native; either way the run ends well, with a checkpoint for everyone."""
    used, run_dir = "native" if ipex_error() else "ipex", tiny_screen.parent / "run"
    done = run_python("train.py", "supervised", "--sites", tiny_screen, "--image-size", "256x256", "--hold-out", "b",
                      "--epochs", "2", "--minibatch", "6", "--microbatch", "2", "--lr", "0.003", "--eval-every", "1",
                      "--accelerate", "ipex", "--threads", torch.get_num_threads(), "--oversubscribe", "true",
                      "--run-dir", run_dir, ranks=2, timeout=400)
    assert done.returncode == 0, done.stderr
    assert f"accelerate: asked ipex, using {used}: " in done.stdout
    assert ("fuse_update_step" in done.stderr) == (used == "ipex")  # only a network that IPEX took over leaves it there
    report = json.loads((run_dir / "environment.json").read_text())["accelerate"]
    assert (report["asked"], report["used"]) == ("ipex", used)
    network = checkpoint.load(run_dir / "checkpoints" / "last.safetensors").network
    MCNN(3, 2, 256, 256).load_state_dict(network)
    assert {value.dtype for value in network.values()} == {torch.float32}
