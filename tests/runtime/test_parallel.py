"""Work shared by the processes of this machine: the same results in the same order, whoever did it."""

import pytest

import map_work
from nbcad.errors import WorkerError
from nbcad.runtime import parallel


@pytest.mark.parametrize("map_", [map, parallel.on_cores(2)], ids=["here", "on cores"])
def test_results_come_in_order_with_few_items_under_way(map_):
    map_work.check_order(map_)


@pytest.mark.parametrize("map_", [map, parallel.on_cores(2)], ids=["here", "on cores"])
def test_error_of_an_item_is_raised_after_the_results_before_it(map_):
    map_work.check_error(map_)


def test_a_killed_process_of_this_machine_is_an_error(tmp_path):
    with pytest.raises(WorkerError, match="worker process was killed"):
        list(parallel.on_cores(2)(map_work.die, range(3)))
