import pytest

from mscnn.distributed.core_plan import Plan, plan, shares
from mscnn.distributed.cpu_topology import Topology, cpulist, parse_cpulist
from tests.distributed.test_cpu_topology import DESKTOP, EPYC, INTERLEAVED, RECIPE, machine, whole


def plans(topology: Topology, ranks: int, **wishes: float) -> list[Plan]:
    """Each rank's plan where all of them may use the whole machine."""
    return [plan(topology, [whole(topology)] * ranks, rank, **wishes) for rank in range(ranks)]


def masked(topology: Topology, *masks: str, **wishes: float) -> list[Plan]:
    """Each rank's plan for masks such as 0-9,40-49."""
    parsed = [parse_cpulist(mask) for mask in masks]
    return [plan(topology, parsed, rank, **wishes) for rank in range(len(masks))]


def computing(planned: list[Plan]) -> list[str]:
    return [cpulist(one.compute) for one in planned]


def loading(planned: list[Plan]) -> list[str]:
    return [cpulist(one.loader) for one in planned]


def test_four_ranks_on_the_recipes_machine_take_ten_cores_of_one_socket_each_and_load_on_their_siblings():
    assert [one.describe() for one in plans(RECIPE, 4)] == [
        "cores 0-9 (socket 0, memory node 0), 10 threads, loader on 40-49: 40 cores for 4 ranks",
        "cores 10-19 (socket 0, memory node 0), 10 threads, loader on 50-59: 40 cores for 4 ranks",
        "cores 20-29 (socket 1, memory node 1), 10 threads, loader on 60-69: 40 cores for 4 ranks",
        "cores 30-39 (socket 1, memory node 1), 10 threads, loader on 70-79: 40 cores for 4 ranks"]


def test_two_ranks_on_eight_memory_nodes_take_a_socket_each():
    first, second = plans(EPYC, 2)
    assert first.describe() == (
        "cores 0-63 (socket 0, memory nodes 0-3), 64 threads, loader on 128-191: 128 cores for 2 ranks")
    assert (cpulist(second.compute), second.sockets, second.memory_nodes) == ("64-127", (1,), (4, 5, 6, 7))


def test_eight_ranks_on_eight_memory_nodes_take_one_each():
    assert [one.memory_nodes for one in plans(EPYC, 8)] == [(node,) for node in range(8)]


def test_where_cpu_numbers_alternate_between_sockets_parts_still_lie_within_one():
    planned = plans(INTERLEAVED, 4)
    assert [one.compute for one in planned] == [
        tuple(range(0, 20, 2)), tuple(range(20, 40, 2)), tuple(range(1, 20, 2)), tuple(range(21, 40, 2))]
    assert [one.loader for one in planned] == [tuple(cpu + 40 for cpu in one.compute) for one in planned]
    assert [(one.sockets, one.memory_nodes) for one in planned] == [((0,), (0,))] * 2 + [((1,), (1,))] * 2


def test_one_rank_takes_everything():
    assert [one.describe() for one in plans(RECIPE, 1)] == [
        "cores 0-39 (sockets 0-1, memory nodes 0-1), 40 threads, loader on 40-79: 40 cores for 1 rank"]
    assert [one.describe() for one in plans(machine(1, 2), 1)] == [
        "cores 0-1 (socket 0, memory node 0), 2 threads, loader on the same cores: 2 cores for 1 rank"]


def test_three_ranks_on_two_sockets_keep_equal_threads_and_say_which_one_straddles():
    planned = plans(RECIPE, 3)
    assert computing(planned) == ["0-12", "13-19,33-38", "20-32"]  # 13 within each socket, the third of what is left
    assert [one.threads for one in planned] == [13, 13, 13]
    assert {one.why for one in planned} == {"40 cores for 3 ranks; local rank 1 on more than one socket"}


def test_parts_straddle_no_socket_where_that_can_be_avoided():
    planned = plans(RECIPE, 6)  # dealt in a row, the fourth would be 18-23
    assert computing(planned) == ["0-5", "6-11", "12-17", "20-25", "26-31", "32-37"]
    assert {one.why for one in planned} == {"40 cores for 6 ranks"}


def test_parts_straddle_no_memory_node_where_that_can_be_avoided():
    planned = plans(machine(1, 10, nodes=2), 4)  # dealt in a row, the third would be 4-5
    assert computing(planned) == ["0-1", "2-3", "5-6", "7-8"]
    assert [one.memory_nodes for one in planned] == [(0,), (0,), (1,), (1,)]


def test_where_cores_are_left_over_ranks_spread_over_the_sockets():
    assert computing(plans(machine(2, 4, nodes=2), 5)) == ["0", "1", "2", "4", "5"]


def test_without_smt_the_cores_left_over_on_a_socket_load_for_all_ranks_there():
    planned = plans(DESKTOP, 3)
    assert (computing(planned), loading(planned)) == (["0-1", "2-3", "4-5"], ["6-7"] * 3)
    two_sockets = plans(machine(2, 4, nodes=2), 7)  # core 7 is left over, on socket 1
    assert loading(two_sockets) == ["0", "1", "2", "3", "7", "7", "7"]
    assert "loader on the same cores" in two_sockets[0].describe()


def test_more_ranks_than_cores_are_dealt_round_robin_with_a_thread_each():
    planned = plans(machine(1, 2), 5)
    assert computing(planned) == ["0", "1", "0", "1", "0"]
    assert {(one.threads, one.oversubscribed, one.why) for one in planned} == {
        (1, True, "2 cores for 5 ranks, fewer than one each")}
    assert not any(one.oversubscribed for one in plans(machine(1, 2), 2))


def test_masks_that_the_launcher_made_for_each_rank_are_kept():
    planned = masked(RECIPE, "20-29,60-69", "0-3")  # neither the order nor the sizes of an even division
    assert [one.describe() for one in planned] == [
        "cores 20-29 (socket 1, memory node 1), 10 threads, loader on 60-69: "
        "inherited mask respected: 10 of 40 cores for 1 rank",
        "cores 0-3 (socket 0, memory node 0), 4 threads, loader on the same cores: "
        "inherited mask respected: 4 of 40 cores for 1 rank"]


def test_ranks_that_share_a_narrow_mask_split_it():
    planned = masked(RECIPE, "0-19", "20-39,60-79", "0-19", "20-39,60-79")  # a socket for two ranks, alternately
    assert computing(planned) == ["0-9", "20-29", "10-19", "30-39"]
    assert loading(planned) == ["0-9", "60-69", "10-19", "70-79"]
    assert {one.why for one in planned} == {"inherited mask respected: 20 of 40 cores for 2 ranks"}
    assert {one.why for one in masked(RECIPE, "0-19", "0-19")} == {"20 of 40 cores for 2 ranks"}


def test_masks_that_overlap_in_part_are_kept_and_the_sharing_is_said():
    planned = masked(DESKTOP, "0-5", "4-7", "6-7")
    assert computing(planned) == ["0-5", "4-7", "6-7"]
    assert [one.why.split("; ")[1] for one in planned] == [
        "some cores are shared with local rank 1", "some cores are shared with local ranks 0,2",
        "some cores are shared with local rank 1"]


def test_masks_of_the_two_threads_of_one_core_share_it():
    first, second = masked(RECIPE, "0-9", "40-49")
    assert (first.compute, second.compute) == (tuple(range(10)), tuple(range(40, 50)))
    assert first.why == "inherited mask respected: 10 of 40 cores for 1 rank; some cores are shared with local rank 1"


def test_cores_asked_for_loading_are_taken_from_computing():
    planned = plans(RECIPE, 4, loader_cores=2)
    assert computing(planned) == ["0-7", "10-17", "20-27", "30-37"]
    assert loading(planned) == ["8-9,48-49", "18-19,58-59", "28-29,68-69", "38-39,78-79"]
    assert [one.threads for one in planned] == [8] * 4
    assert loading(plans(DESKTOP, 2, loader_cores=1)) == ["3", "7"]


def test_one_core_is_left_to_compute_however_many_are_asked_for_loading():
    planned = plans(DESKTOP, 4, loader_cores=5)
    assert (computing(planned)[0], loading(planned)[0]) == ("0", "1")
    assert planned[0].why == "8 cores for 4 ranks; loader cores: asked 5, using 1, as one must compute"


@pytest.mark.parametrize(("asked", "oversubscribed", "why"), [
    (3, False, "threads asked: 3"), (4, False, "threads asked: 4"),
    (5, True, "threads asked: 5, more than the 4 cores available")])
def test_threads_asked_for_are_used_and_an_excess_is_said(asked, oversubscribed, why):
    one = plans(DESKTOP, 2, threads=asked)[1]
    assert (one.threads, one.asked, one.oversubscribed) == (asked, asked, oversubscribed)
    assert one.why == f"8 cores for 2 ranks; {why}"
    assert one.compute == (4, 5, 6, 7)  # fewer threads move among all of them


def test_a_container_with_a_quota_of_two_on_64_cpus_plans_two_threads_that_may_run_anywhere():
    one, = plans(machine(1, 32, smt=2), 1, quota=2.0)
    assert (one.threads, cpulist(one.compute), one.oversubscribed) == (2, "0-31", False)
    assert one.why == "32 cores for 1 rank; quota of 2 cores for 1 rank"


@pytest.mark.parametrize(("quota", "threads", "oversubscribed"), [
    (None, 4, False), (9.0, 4, False), (8.0, 4, False), (7.9, 3, False), (3.5, 1, False), (1.5, 1, True)])
def test_ranks_divide_a_quota_below_the_number_of_cores(quota, threads, oversubscribed):
    for one in plans(DESKTOP, 2, quota=quota):
        assert (one.threads, one.oversubscribed, "quota" in one.why) == (threads, oversubscribed, (quota or 8) < 8)


def test_a_quota_is_divided_evenly_over_masks_of_any_size_and_adds_no_threads_to_a_small_one():
    assert [one.threads for one in masked(DESKTOP, "0-5", "6-7", quota=8.0)] == [6, 2]  # as many as there are cores
    assert [one.threads for one in masked(DESKTOP, "0-5", "6-7", quota=7.0)] == [3, 2]


def test_more_threads_asked_than_the_quota_allows_is_said():
    one, = plans(DESKTOP, 1, quota=2.0, threads=4)
    assert (one.threads, one.oversubscribed) == (4, True)
    assert one.why.endswith("quota of 2 cores for 1 rank; threads asked: 4, more than the 2 cores available")


def test_a_cpu_that_the_topology_does_not_show_is_a_core_of_its_own():
    assert computing(masked(machine(1, 2), "5,9", "5,9")) == ["5", "9"]


@pytest.mark.parametrize("topology", [RECIPE, DESKTOP, EPYC, INTERLEAVED, machine(2, 5, nodes=2), machine(3, 7, smt=4)])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 7, 11, 13, 21])
def test_equal_parts_share_no_core_and_leave_no_mask(topology, ranks):
    """Over the whole machine and over an odd mask of it, with and without cores for loading."""
    odd = frozenset(number for number in whole(topology) if number % 3)
    core_of = {cpu.number: cpu.core for cpu in topology.cpus}
    for mask in (whole(topology), odd):
        cores = {core_of[number] for number in mask}
        for asked in (0, 1):
            planned = [plan(topology, [mask] * ranks, rank, loader_cores=asked) for rank in range(ranks)]
            assert all(mask.issuperset(one.compute + one.loader) for one in planned)
            share = max(1, len(cores) // ranks)
            assert {one.threads for one in planned} == {len(one.compute) for one in planned} == {max(1, share - asked)}
            if len(cores) >= ranks:
                assert len({core_of[number] for one in planned for number in one.compute}) == ranks * max(1, share - asked)


def test_jobs_side_by_side_share_no_core():
    assert [cpulist(cpus) for cpus in shares(RECIPE, whole(RECIPE), 2)] == ["0-19,40-59", "20-39,60-79"]
    assert [cpulist(cpus) for cpus in shares(DESKTOP, parse_cpulist("0-3"), 2)] == ["0-1", "2-3"]
