import pytest
from hypothesis import given
from hypothesis import strategies as st

from samu_batch.shards import ARRAY_VARIABLES, Shard, balanced, every_nth, ids_of, partition_of

IDS = st.lists(st.text("abcdef0123456789", min_size=1, max_size=8), unique=True, max_size=60)


@given(ids=IDS, count=st.integers(1, 9))
def test_without_a_partition_every_id_is_in_exactly_one_shard(ids, count):
    shards = [every_nth(ids, Shard(number, count)) for number in range(1, count + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(ids)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(costs=st.dictionaries(st.text(min_size=1), st.floats(0, 1e6), max_size=60), count=st.integers(1, 9))
def test_a_balanced_partition_is_within_its_bound(costs, count):
    partition = balanced(costs, count)
    assert partition.keys() == costs.keys()
    loads = [sum(cost for name, cost in costs.items() if partition[name] == number) for number in range(1, count + 1)]
    best = max([sum(costs.values()) / count, *costs.values()])
    assert max(loads) <= 2 * best + 1e-6
    assert partition == balanced(dict(reversed(costs.items())), count)


@pytest.mark.parametrize("variable", ARRAY_VARIABLES.values())
def test_auto_reads_the_schedulers_variable(variable):
    assert Shard.parse("auto", {variable: "7"}) == Shard(7)


def test_auto_is_never_assumed():
    with pytest.raises(ValueError, match="none of"):
        Shard.parse("auto", {"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"})
    with pytest.raises(ValueError, match="several"):
        Shard.parse("auto", {"SLURM_ARRAY_TASK_ID": "1", "PBS_ARRAY_INDEX": "1"})


@pytest.mark.parametrize("text", ["0/3", "4/3", "0", "x", "1/", "1/2/3", "-1", "1.5"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(text, {})


def test_a_number_alone_needs_a_frozen_partition():
    with pytest.raises(ValueError, match="samu-batch array"):
        every_nth(["a"], Shard(1))


@given(
    costs=st.dictionaries(st.text("abc", min_size=1), st.none() | st.integers(0, 9)), new=IDS, count=st.integers(1, 9)
)
def test_every_id_is_one_tasks_also_those_that_came_later(costs, new, count):
    partition = partition_of(costs, count)
    ids = list({**costs, **dict.fromkeys(new)})
    tasks = [ids_of(ids, Shard(number), partition=partition) for number in range(1, count + 1)]
    assert sorted(name for task in tasks for name in task) == sorted(ids)
    assert all(
        ids_of(list(costs), Shard(n), partition=partition) == [i for i in task if i in costs]
        for n, task in enumerate(tasks, 1)
    )


def test_another_number_than_the_frozen_one_is_refused():
    partition = partition_of({"a": 1, "b": 2}, 2)
    for shard in (Shard(1, 3), Shard(3), Shard(1, 1)):
        with pytest.raises(ValueError, match=r"frozen in 2|within 1 to 2"):
            ids_of(["a", "b"], shard, partition=partition)
