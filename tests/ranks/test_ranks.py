"""The same program as 1 to 4 processes over gloo and MPI: 3 ranks find uneven shards and a rank without work."""

import json

import pytest
import torch

from tests.conftest import ROOT, run_mpi, run_python

pytestmark = pytest.mark.ranks


PROGRAM = ROOT / "tests" / "ranks" / "take_steps.py"


def take_steps(table, ranks: int, mpiexec: str | None = None, broken: int = -1, learnt: str = "mechanism",
               first_layer: str = "replicated") -> dict:
    """What rank 0 wrote; over MPI where there is an mpiexec to start it."""
    out = table.parent / f"{ranks}-ranks.pt"
    how = (broken, learnt, first_layer)
    done = (run_mpi(mpiexec, ranks, "-m", "mpi4py", PROGRAM, table, out, "mpi", *how) if mpiexec else
            run_python(PROGRAM, table, out, "gloo", *how, ranks=ranks))
    assert done.returncode == 0, done.stderr
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("first_layer", ["replicated", "sharded"])
@pytest.mark.parametrize(("backend", "sizes"), [("gloo", (2, 3, 4)), ("mpi", (3,))])
def test_ranks_train_and_predict_like_one_process(tiny_screen, request, backend, sizes, first_layer):
    mpiexec = request.getfixturevalue("mpiexec") if backend == "mpi" else None
    alone = take_steps(tiny_screen, 1)
    assert alone["taken"] == [0.01, 0.02, 0.01]
    for ranks in sizes:
        together = take_steps(tiny_screen, ranks, mpiexec, first_layer=first_layer)
        for name, expected in alone["parameters"].items():  # float32 sums in another order, over three steps
            torch.testing.assert_close(together["parameters"][name], expected, rtol=1e-5, atol=1e-6, msg=name)
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert together["accuracy"] == alone["accuracy"]
        assert together["normalisation"] == alone["normalisation"]  # to the last bit
        assert together["counts"] == alone["counts"]
        torch.testing.assert_close(together["probabilities"], alone["probabilities"], rtol=1e-4, atol=1e-5)
        held = [alone["held"][0] / (ranks if first_layer == "sharded" else 1)] * ranks  # first layer's weight and momentum
        assert together["held"] == pytest.approx(held, rel=1e-2)  # 1024 columns, to one
        others = first_layer == "replicated"  # do not hold the number that is not finite
        assert together["finite"] == [[True, others]] * (ranks - 1) + [[True, False]]
        assert together["everyone"] == [{"rank": rank, "any": True, "text": "µ" * rank} for rank in range(ranks)]


def test_the_contrast_of_ranks_and_microbatches_is_that_of_the_whole_minibatch(tiny_screen):
    """Two sites of two views leave a fourth rank one field, and a fifth none."""
    expected, accuracy, loss = plain_contrast_steps(tiny_screen)
    several = [(ranks, first_layer) for ranks in (2, 3, 5) for first_layer in ("replicated", "sharded")]
    for ranks, first_layer in [(1, "replicated"), *several]:
        found = take_steps(tiny_screen, ranks, learnt="contrast", first_layer=first_layer)
        assert found["accuracy"] == pytest.approx(accuracy, rel=1e-6)
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        for name, parameter in expected.items():
            torch.testing.assert_close(found["parameters"][name], parameter, rtol=1e-4 if ranks == 1 else 1e-5, atol=2e-6,
                                       msg=name)
            expected[name] = found["parameters"][name] if ranks == 1 else parameter  # of float32 in the program's order


@pytest.mark.parametrize(("backend", "ranks"), [("gloo", 2), ("gloo", 4), ("mpi", 3)])
@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_a_sharded_layer_is_the_whole_layer(tmp_path, request, backend, ranks, in_bfloat16):
    program = (ROOT / "tests" / "ranks" / "shard_a_layer.py", tmp_path / "worst.pt", backend, in_bfloat16)
    done = (run_mpi(request.getfixturevalue("mpiexec"), ranks, "-m", "mpi4py", *program) if backend == "mpi" else
            run_python(*program, ranks=ranks))
    assert done.returncode == 0, done.stderr
    worst = torch.load(tmp_path / "worst.pt", weights_only=True)
    exact = {name: worst.pop(name) for name in ("gathered", "there and back", "on others")}
    assert all(value < 1e-14 for value in exact.values()), exact
    assert sorted(worst) == ["inputs", "outputs", "weight"]
    for name, value in worst.items():  # bfloat16 rounds numbers of about 1 by 0.4 %; sums are of 11 of them
        assert (1e-4 < value < 0.1) if in_bfloat16 else value < 1e-14, (name, value)


def choose_the_ways(tmp_path, ranks: int, lacking: int) -> tuple[str, list[dict]]:
    """The host, and what each rank has chosen."""
    program = ROOT / "tests" / "ranks" / "choose_the_ways.py"
    done = run_python(program, tmp_path / "chosen.json", tmp_path / "cache", lacking, ranks=ranks)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "chosen.json").read_text())
    return found["host"], found["everyone"]


@pytest.mark.parametrize("ranks", [2, 3])
def test_rank_0_measures_the_ways_and_decides_for_all(tmp_path, ranks):
    _, everyone = choose_the_ways(tmp_path, ranks, lacking=-1)
    assert [each.pop("measured") for each in everyone] == [1] + [0] * (ranks - 1)
    assert all(each == everyone[0] for each in everyone)
    assert everyone[0]["new"]["ways"] == ["dense"] * 7
    assert everyone[0]["resumed"]["ways"] == ["compiled"] * 3 + ["dense"] * 4


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_rank_without_the_kernel_leaves_it_out_for_all(tmp_path, lacking):
    host, everyone = choose_the_ways(tmp_path, 2, lacking)
    assert [each.pop("measured") for each in everyone] == [1, 0]
    assert everyone[0] == everyone[1]
    for found in (everyone[0]["new"], everyone[0]["resumed"]):
        assert found["kernel"] == {"asked": "auto", "used": "torch", "why": f"rank {lacking} on {host}: no luck"}
        assert {way for of_branch in found["measured_ms"] for way in of_branch} == {"sparse", "dense"}
        assert found["ways"] == ["dense"] * 7


@pytest.mark.parametrize("first_layer", ["replicated", "sharded"])
def test_a_field_that_is_not_finite_is_skipped_by_all_ranks_and_named(tiny_screen, first_layer):
    """It is in the second minibatch alone, and there on one rank alone."""
    alone, together = take_steps(tiny_screen, 1, broken=8), take_steps(tiny_screen, 3, broken=8, first_layer=first_layer)
    assert alone["skipped"] == together["skipped"] == [False, True, False]
    assert alone["broken"] == together["broken"] == [[], [8], []]
    for name, expected in alone["parameters"].items():
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(together["parameters"][name], expected, rtol=1e-5, atol=1e-6, msg=name)
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)  # of the two that were taken


def test_the_steps_change_the_network(tiny_screen):
    """Against the reference itself being idle: three plain PyTorch steps on whole minibatches in this process."""
    alone = take_steps(tiny_screen, 1)
    reference = plain_steps(tiny_screen)
    for name, expected in reference.items():
        torch.testing.assert_close(alone["parameters"][name], expected, rtol=1e-4, atol=1e-6, msg=name)


ASSAYS = "compound,toxic,binds,grows\na,1,,0\nb,0,1,\nc,,0,\nDMSO,0,,1\n"  # each assay has both classes


def test_assays_with_holes_are_learnt_alike_on_ranks_and_as_by_plain_steps(tiny_screen):
    """The second minibatch leaves a third rank without a field; its other two fields have no assay in common."""
    tiny_screen.with_name("assays.csv").write_text(ASSAYS)
    alone = take_steps(tiny_screen, 1, learnt="assays")
    for name, expected in plain_steps(tiny_screen, ASSAYS).items():
        torch.testing.assert_close(alone["parameters"][name], expected, rtol=1e-4, atol=1e-6, msg=name)
    for ranks in (2, 3):
        together = take_steps(tiny_screen, ranks, learnt="assays")
        for name, expected in alone["parameters"].items():  # float32 sums in another order, over three steps
            torch.testing.assert_close(together["parameters"][name], expected, rtol=1e-5, atol=1e-6, msg=name)
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert together["accuracy"] == alone["accuracy"]
        torch.testing.assert_close(together["probabilities"], alone["probabilities"], rtol=1e-4, atol=1e-5)
    assert alone["probabilities"].shape == (12, 3)
    assert (alone["probabilities"].sum(dim=1) - 1).abs().min() > 1e-3  # each assay has a probability of its own


def plain_steps(table_csv, assays: str = "") -> dict:
    """The textbook loop, without microbatches, ranks, prefetch, DDP or a fused optimiser.

    assays: text of a table of assays that is learnt in place of mechanisms.
    """
    import io

    import numpy as np
    import pandas as pd
    import torch.nn.functional as F
    from sklearn.utils.class_weight import compute_sample_weight

    from mscnn.core import config
    from mscnn.data.pixels.augment import Jitter
    from mscnn.data.pixels.reader import FieldReader
    from mscnn.data.pixels.statistics import pixel_statistics
    from mscnn.distributed import world
    from mscnn.model import MCNN
    from mscnn.training import prepare_data
    from tests.ranks.take_steps import MINIBATCHES, RATES

    ranks, settings = world.World(), config.Data(sites=str(table_csv))
    table = prepare_data.with_shape(prepare_data.load_sites(settings), None, ranks)
    fields = FieldReader(table, prepare_data.fit_scale(table, np.arange(len(table)), settings, ranks), None)
    if assays:
        values = pd.read_csv(io.StringIO(assays), index_col="compound").sort_index(axis=1).loc[table.frame["compound"]]
        labels, weights = torch.tensor(values.fillna(0).to_numpy()).float(), torch.zeros(values.shape)
        for assay, column in enumerate(values):
            known = values[column].notna().to_numpy()
            weights[known, assay] = torch.tensor(compute_sample_weight("balanced", values[column][known])).float()
    else:
        labels = torch.tensor([table.mechanisms().index(name) for name in table.frame["mechanism"]])
        weights = torch.tensor(compute_sample_weight("balanced", labels.numpy()), dtype=torch.float32)
    torch.manual_seed(0)
    network = MCNN(3, *table.shape)
    described = pixel_statistics(fields.read(np.arange(len(table))))
    targets = ((described - described.mean(0)) / described.std(0, correction=0)).nan_to_num(0).clamp(-4, 4)
    second = torch.nn.Linear(512, targets.shape[1])
    torch.nn.init.xavier_uniform_(second.weight)
    torch.nn.init.zeros_(second.bias)
    parameters = [*network.parameters(), *second.parameters()]
    before = {name: parameter.clone() for name, parameter in network.state_dict().items()}
    optimiser = torch.optim.SGD(parameters, lr=0.0, momentum=0.9, nesterov=True, weight_decay=5e-5, foreach=False)
    for sites, rate in zip(MINIBATCHES, RATES, strict=True):
        images = fields.read(np.array(sites), Jitter(flips=True, quarter_turns=True, gain=0.2), (0, 0))
        features = network.features(images)
        scores = network.classify(features)
        losses = (F.binary_cross_entropy_with_logits(scores, labels[sites] * 0.9 + 0.05, reduction="none") if assays else
                  F.cross_entropy(scores, labels[sites], reduction="none", label_smoothing=0.1))
        statistics = F.smooth_l1_loss(second(features), targets[sites])
        ((losses * weights[sites]).sum() / weights[sites].sum() + 0.5 * statistics).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
    assert all((network.state_dict()[name] != before[name]).any() for name in before)
    return network.state_dict()


def plain_contrast_steps(table_csv) -> tuple[dict, float, float]:
    """The textbook loop, losses of single fields written out; returns parameters, share of fields matched, mean loss."""
    import numpy as np
    import torch.nn.functional as F

    from mscnn.core import config
    from mscnn.data.pixels.augment import Jitter
    from mscnn.data.pixels.reader import FieldReader
    from mscnn.data.pixels.statistics import pixel_statistics
    from mscnn.distributed import world
    from mscnn.model import MCNN
    from mscnn.training import prepare_data
    from mscnn.training.loss import LossModule
    from tests.ranks.take_steps import MINIBATCHES, RATES

    ranks, settings = world.World(), config.Data(sites=str(table_csv))
    table = prepare_data.with_shape(prepare_data.load_sites(settings), None, ranks)
    fields = FieldReader(table, prepare_data.fit_scale(table, np.arange(len(table)), settings, ranks), None)
    compound, jitter = table.frame["compound"].tolist(), Jitter(flips=True, quarter_turns=True, gain=0.2)
    torch.manual_seed(0)
    network = MCNN(len(table.mechanisms()), *table.shape)
    described = pixel_statistics(fields.read(np.arange(len(table))))
    targets = ((described - described.mean(0)) / described.std(0, correction=0)).nan_to_num(0).clamp(-4, 4)
    module = LossModule(network, 0.0, 0.5, targets.shape[1], 0.0, contrast=True)
    learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert len(learnt) == len(list(module.parameters())) - 2  # all but the classifier
    optimiser = torch.optim.SGD(learnt, lr=0.0, momentum=0.9, nesterov=True, weight_decay=5e-5, foreach=False)
    matched, anchors, steps = 0, 0, []
    for sites, rate in zip(MINIBATCHES, RATES, strict=True):
        first = fields.read(np.array(sites), jitter, (0, 0))
        second = fields.read(np.array(sites), jitter, (0, 0), np.ones(len(sites), int))
        images = torch.stack([first, second], 1).flatten(0, 1)
        both = np.repeat(sites, 2).tolist()
        features = network.features(images)
        unit = F.normalize(module.embed(features), dim=1)
        likeness = unit @ unit.T
        losses = {"replicates": [], "views": []}
        for one in range(len(both)):
            others = [other for other in range(len(both)) if other != one]
            repel = [other for other in others if compound[both[other]] != compound[both[one]]]
            same = {"replicates": [other for other in others if compound[both[other]] == compound[both[one]]
                                   and both[other] != both[one]],
                    "views": [other for other in others if both[other] == both[one]]}
            nearest = max(others, key=lambda other: likeness[one, other].item())
            anchors += 1
            matched += nearest in same["replicates"] + same["views"]
            for kind, attract in same.items():
                if attract:
                    total = sum(torch.exp(likeness[one, other] / 0.15) for other in attract + repel)
                    losses[kind].append(sum(-torch.log(torch.exp(likeness[one, other] / 0.15) / total)
                                            for other in attract) / len(attract))
        replicates, views = (sum(each) / max(len(each), 1) for each in losses.values())
        steps.append(replicates + 0.3 * views + 0.5 * F.smooth_l1_loss(module.aux_head(features), targets[both]))
        steps[-1].backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
    return network.state_dict(), matched / anchors, sum(step.item() for step in steps) / len(steps)


def test_statistics_and_read_outs_are_the_same_on_any_number_of_ranks(tiny_screen):
    """To the last bit: each site is measured, and each fold fitted, on one rank."""
    found = []
    for ranks in (1, 2, 3):
        out = tiny_screen.parent / f"read-out-{ranks}.pt"
        done = run_python(ROOT / "tests" / "ranks" / "read_out.py", tiny_screen, out, ranks=ranks)
        assert done.returncode == 0, done.stderr
        found.append(torch.load(out, weights_only=True))
    alone = found[0]
    assert len(alone["choices"]) == 3
    assert (alone["chosen"].sum(1) > 0).sum() == 9  # of compounds; untreated wells are not predicted
    assert {"statistics", "network", "product", "side by side"} <= alone["candidates"].keys()
    for together in found[1:]:
        assert together["choices"] == alone["choices"]
        for name in ("statistics", "chosen"):
            assert torch.equal(together[name], alone[name])
        for name, expected in alone["candidates"].items():
            assert torch.equal(together["candidates"][name], expected)
