"""The fast layers in a process of their own: any number of threads, forks and signals."""

import hashlib
import os
import subprocess
import sys

import pytest


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | environment,
    )  # fmt: skip


FEW_IMAGES = """
import caffe
net = caffe.Net("models/organ_net/deploy.prototxt", caffe.TEST)
for images in (1, 2, 3, 7, 8, 9, 64):
    net.blobs["data"].reshape(images, 1, 64, 64)
    net.forward()
net = caffe.Net("models/stage_lenet5/fcn.prototxt", caffe.TEST)
for images in (1, 7, 20):
    net.blobs["data"].reshape(images, 1, 100, 90)
    net.forward()
"""


def test_no_number_of_images_is_left_to_onednns_slow_reference():
    done = run(FEW_IMAGES, DNNL_VERBOSE="1")
    assert done.returncode == 0, done.stderr
    executed = {line.split(",")[4] for line in done.stdout.splitlines() if ",exec,cpu,convolution," in line}
    assert executed and not any("ref" in implementation for implementation in executed), executed


TRAINING = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, "tests/support")
from make_solver import solver_of
solver = solver_of(sys.argv[1], int(sys.argv[3]), 0.01, Path(sys.argv[2]))
solver.step(4)
print(hashlib.sha256(b"".join(each.data.tobytes() for own in solver.net.params.values() for each in own)).hexdigest())
"""


# With AVX-512, a batch of 32 goes through the stage net 16 images side by side.
@pytest.mark.parametrize(("name", "batch"), [("organ", "21"), ("stage", "21"), ("stage", "32")])
def test_weights_are_the_same_bytes_on_any_number_of_threads(name, batch, tmp_path):
    results = {}
    for threads in ("1", "2", "3", "17", "2 again"):  # with 17, layers leave no work of so small batches
        done = run(TRAINING, name, str(tmp_path), batch, OMP_NUM_THREADS=threads.split()[0], OPENBLAS_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        results[threads] = done.stdout
    assert len(set(results.values())) == 1, results
    assert len(results["1"].strip()) == len(hashlib.sha256().hexdigest())


FORKING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, "tests/support")
from make_solver import solver_of
solver = solver_of("stage", 21, 0.01, Path(sys.argv[1]))
solver.step(1)
child = os.fork()
if child == 0:
    signal.alarm(60)
    solver.step(1)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_threads_of_its_own(tmp_path):
    assert run(FORKING, str(tmp_path), OMP_NUM_THREADS="3").returncode == 0


# Any function of an int can be a handler of C: it runs on the stack of the thread that it interrupts.
HANDLED = """
import ctypes, signal, sys
from pathlib import Path
sys.path.insert(0, "tests/support")
from make_solver import solver_of
solver = solver_of("stage", 16, 0.01, Path(sys.argv[1]))
c = ctypes.CDLL(None)
came = []
if sys.argv[2] == "Python":
    signal.signal(signal.SIGPROF, lambda number, frame: came.append(number))
else:
    c.signal(signal.SIGPROF, ctypes.cast(c.abs, ctypes.c_void_p))
"""
INTERRUPTED = """
signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)  # of processor time: of the threads that compute
for _ in range(600):
    solver.step(1)
signal.setitimer(signal.ITIMER_PROF, 0)
print(len(came))
"""
LOOKED_AT = """
class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
DISABLED = 2
def look(*_):
    stack = Stack()
    c.sigaltstack(None, ctypes.byref(stack))
    waits = signal.SIGPROF in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    seen.append(("no stack" if stack.flags & DISABLED else "stack", "waits" if waits else "comes"))
seen = []
solver.net.before_forward(look)
look()
solver.net.forward()
look()
print(seen[0], set(seen[1:-1]), seen[-1])
"""


@pytest.mark.parametrize("handler", ["Python", "C"])
def test_signals_harm_no_memory_while_the_cores_compute(handler, tmp_path):
    """oneDNN before 3.11.2 multiplies with the stack pointer in the heap."""
    done = run(HANDLED + INTERRUPTED, str(tmp_path), handler, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert handler != "Python" or int(done.stdout) > 50  # they come to the thread that computes, not late


@pytest.mark.parametrize(("handler", "signals"), [("Python", "comes"), ("C", "waits")])
def test_handlers_have_a_stack_of_their_own_or_wait_while_layers_compute(handler, signals, tmp_path):
    done = run(HANDLED + LOOKED_AT, str(tmp_path), handler)
    assert done.stdout.strip() == f"('no stack', 'comes') {{('stack', '{signals}')}} ('stack', 'comes')", done.stderr


def test_another_choice_of_layers_ends_the_process():
    program = "import caffe; caffe.Net('models/stage_lenet5/deploy.prototxt', caffe.TEST)"
    done = run(program, NBCAD_CAFFE_LAYERS="quick")
    assert done.returncode != 0
    assert "NBCAD_CAFFE_LAYERS is 'quick', not fast or stock" in done.stderr
