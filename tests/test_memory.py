import subprocess
import sys

FREED_BETWEEN_KEPT = """
import numpy as np
from nbcad.memory import return_large_blocks
{call}
np.ones(8 << 20, np.uint8)
large, kept = [], []
for _ in range(10):
    large.append(np.ones(4 << 20, np.uint8))
    kept.append(np.ones(100_000, np.uint8))
del large
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def kib_held(call: str) -> int:
    made = subprocess.run([sys.executable, "-c", FREED_BETWEEN_KEPT.format(call=call)], capture_output=True, check=True)
    return int(made.stdout)


def test_large_blocks_that_are_freed_between_small_ones_are_returned():
    assert kib_held("return_large_blocks()") < kib_held("") - 30_000
