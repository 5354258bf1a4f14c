import subprocess
import sys

FREED_BETWEEN_KEPT = """
import numpy as np
from nbcad.runtime.memory import return_large_blocks

def kib_held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

return_large_blocks()
np.ones(8 << 20, np.uint8)
before, large, kept = kib_held(), [], []
for _ in range(10):
    large.append(np.ones(4 << 20, np.uint8))
    kept.append(np.ones(100_000, np.uint8))
del large
print(kib_held() - before)
"""


def test_large_blocks_that_are_freed_between_small_ones_are_returned():
    made = subprocess.run([sys.executable, "-c", FREED_BETWEEN_KEPT], capture_output=True, check=True)
    assert int(made.stdout) < 10_000  # of 40,960
