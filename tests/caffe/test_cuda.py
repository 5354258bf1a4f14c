"""CUDA: what is said where part of it is missing, and the CUDA build of Caffe where .venv refers to one."""

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from caffe_recipe import BUILD, script
from nbcad.language.message import EMPTY
from nbcad.nets import caffe_net
from repository import run_tool

LIBRARY = BUILD / "build/lib/libcaffe.so.1.0.0"
SETTINGS = BUILD / "cuda.mk"
CARDS = [path.name for path in Path("/dev").glob("nvidia[0-9]*")]

of_a_cuda_build = pytest.mark.skipif(not SETTINGS.exists(), reason="of a CUDA build of Caffe: CAFFE_CUDA=1 make caffe")
without_card = pytest.mark.skipif(bool(CARDS), reason="what happens without a card; there is one")
with_card = pytest.mark.skipif(not CARDS, reason="no NVIDIA card")


# What the recipe says. A compiler that only tells its version and its architectures stands for nvcc.


@pytest.fixture
def toolkit(tmp_path) -> Path:
    """A CUDA toolkit as NVIDIA installs it, of empty files but for nvcc."""
    root = tmp_path / "cuda"
    for name in ("include/cuda_runtime.h", "include/cublas_v2.h", "include/curand.h", "lib64/libcudart.so.13",
                 "lib64/libcublas.so.13", "lib64/libcublas.so.13.1.1.3", "lib64/libcurand.so.10"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    write_nvcc(root, "13.0")
    return root


def write_nvcc(toolkit: Path, version: str) -> None:
    nvcc = toolkit / "bin/nvcc"
    nvcc.parent.mkdir(exist_ok=True)
    nvcc.write_text(
        "#!/bin/sh\n[ $1 = --version ] && "
        f"echo 'Cuda compilation tools, release {version}, V{version}.1' || printf 'compute_75\\ncompute_100\\n'\n"
    )
    nvcc.chmod(0o755)


def settings(toolkit: Path, **environment: str) -> subprocess.CompletedProcess:
    places = {"CUDA_DIR": str(toolkit), "NBCAD_CACHE": str(toolkit.parent / "cache"), "CUDA_ARCH": "75 100"}
    return script("cuda.sh", **places | environment)


def test_settings_name_the_toolkits_files_and_the_newest_architectures_ptx(toolkit):
    done = settings(toolkit)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(":")[-1] for line in lines if line.startswith("CUDA_LIBRARIES")] == [
        "libcudart.so.13", "libcublas.so.13", "libcurand.so.10",
    ]  # fmt: skip
    assert re.findall(r"code=(\w+)", done.stdout) == ["compute_100", "sm_75", "sm_100"]
    assert f"LDFLAGS += -Wl,-rpath,{toolkit}/lib64" in lines and "nccl" not in done.stdout


def test_libraries_of_nvidias_python_packages_are_found(toolkit):
    folder = toolkit.parent / "cache/cuda/nvidia/cu13"
    for part in ("include/cublas_v2.h", "lib/libcublas.so.13"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).touch()
        (toolkit / part).unlink(missing_ok=True)
    done = settings(toolkit)
    assert f"INCLUDE_DIRS += {folder}/include\nLIBRARY_DIRS += {folder}/lib\n" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("bin/nvcc", ("nvcc", "CUDA_DIR")),
        ("include/cublas_v2.h", ("cuBLAS", "pip install --target", "cuda-toolkit[cublas]==13.0.*")),
        ("lib64/libcurand.so.10", ("cuRAND", "pip install --target", "cuda-toolkit[curand]==13.0.*")),
    ],
)
def test_a_missing_part_stops_the_build_with_one_line(toolkit, missing, said):
    (toolkit / missing).unlink()
    done = script(
        "build.sh", CAFFE_CUDA="1", CUDA_DIR=str(toolkit), CUDA_ARCH="75", NBCAD_CACHE=str(toolkit.parent / "cache")
    )
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in said)


def test_nccl_is_asked_for_where_it_is_wanted(toolkit):
    done = settings(toolkit, USE_NCCL="1")
    if done.returncode == 0:  # where the system has it
        assert "-DUSE_NCCL" in done.stdout
    else:
        assert len(done.stderr.splitlines()) == 1 and "NCCL" in done.stderr and "nvidia-nccl-cu13" in done.stderr


def test_architectures_and_versions_that_do_not_fit_are_named(toolkit):
    done = settings(toolkit, CUDA_ARCH="75 70")
    assert done.returncode == 1 and "does not know the architecture 70; it knows 75 100." in done.stderr
    write_nvcc(toolkit, "11.8")
    done = settings(toolkit)
    assert done.returncode == 1 and "11.8" in done.stderr and len(done.stderr.splitlines()) == 1


# What the tools say.


class Runtime:
    """The CUDA runtime's answers to three questions."""

    def __init__(self, driver: int, cards: int, status: int = 0):
        self.driver, self.cards, self.status = driver, cards, status
        self.cudaGetErrorString = lambda status: b"no CUDA-capable device is detected"  # a lambda has attributes

    def cudaDriverGetVersion(self, version) -> int:
        version._obj.value = self.driver
        return 0

    def cudaGetDeviceCount(self, count) -> int:
        count._obj.value = self.cards
        return self.status


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        (object(), "no CUDA .*CAFFE_CUDA=1 make caffe"),
        (Runtime(driver=0, cards=0, status=35), "no NVIDIA driver"),
        (Runtime(driver=13000, cards=0, status=100), "no CUDA-capable device is detected"),
        (Runtime(driver=13000, cards=2), "number of NVIDIA cards is 2"),
    ],
)
def test_what_a_card_lacks_is_named(runtime, said):
    assert re.search(said, str(caffe_net.reason_against_card(runtime, 2)))


def test_a_card_that_is_there_is_taken():
    assert caffe_net.reason_against_card(Runtime(driver=13000, cards=3), 2) == EMPTY


@without_card
@pytest.mark.parametrize("tool", ["train", "infer", "choose_operating_point"])
def test_tool_without_a_card_ends_with_one_line_and_leaves_nothing(flow, tmp_path, tool):
    lmdbs = ("--database", flow.database, "--lmdb", flow.lmdbs)
    arguments = {
        "train": ("--solver", flow.folder / "stage/solver.prototxt", "--run", tmp_path / "out"),
        "infer": (flow.phantom / "dicom", "--models", flow.models, "--out", tmp_path / "out"),
        "choose_operating_point": ("--run", tmp_path / "out", *lmdbs),
    }
    done = run_tool(tool, *arguments[tool], "--device", "cuda:0")
    assert done.returncode == 1 and done.stdout == "" and not (tmp_path / "out").exists()
    lacking = "no NVIDIA driver|NVIDIA driver says" if SETTINGS.exists() else "this build of Caffe has no CUDA"
    assert re.fullmatch(rf"{tool}.py: error: cuda:0 cannot be used: .*({lacking}).*; use --device cpu\n", done.stderr)


# The build.


def output(*command) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


@of_a_cuda_build
def test_the_library_holds_code_for_the_architectures_asked_for():
    asked = re.findall(r"code=(\w+)", SETTINGS.read_text())
    places = re.findall(r"^(?:CUDA_DIR :=|INCLUDE_DIRS \+=) (.*?)(?:/include)?$", SETTINGS.read_text(), re.MULTILINE)
    program = shutil.which("cuobjdump", path=":".join(f"{place}/bin" for place in places))
    if not program:
        pytest.skip("no cuobjdump, which nvidia-cuda-cuobjdump brings")
    compiled = Counter(re.findall(r"\.(sm_\w+)\.cubin$", output(program, "--list-elf", LIBRARY), re.MULTILINE))
    ptx = Counter(re.findall(r"\.sm_(\w+)\.ptx$", output(program, "--list-ptx", LIBRARY), re.MULTILINE))
    found = compiled + Counter({f"compute_{architecture}": number for architecture, number in ptx.items()})
    assert sorted(found) == sorted(asked)
    assert len(set(found.values())) == 1  # of each source file as many


@of_a_cuda_build
def test_symbols_of_cuda_resolve_and_the_nets_kernels_are_there():
    linked = output("ldd", "-r", LIBRARY)
    assert re.search(r"libcublas\.so\.\d+ => /", linked) and re.search(r"libcurand\.so\.\d+ => /", linked)
    assert "not found" not in linked and "undefined symbol" not in linked
    symbols = output("nm", "--defined-only", LIBRARY)  # the kernels' own are local ones from CUDA 13 on
    kernels = (
        "im2col_gpu_kernel", "MaxPoolForward", "MaxPoolBackward", "SigmoidForward", "SigmoidBackward", "ReLUForward",
        "ReLUBackward", "DropoutForward", "DropoutBackward", "kernel_exp", "SoftmaxLossForwardGPU", "SGDUpdate",
    )  # fmt: skip
    assert [kernel for kernel in kernels if f"N5caffe{len(kernel)}{kernel}IfE" not in symbols] == []


def run(program: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


# Set up on the CPU, so that the layer has its fast implementation; then the first call of the CUDA runtime fails.
# Which layer's it was, glibc tells: glog's own trace of the calls is empty on some machines.
TO_THE_CARD = """
import ctypes, signal, sys
from nbcad.nets.caffe_net import caffe

libc = ctypes.CDLL(None)
@ctypes.CFUNCTYPE(None, ctypes.c_int)
def tell(number):
    calls = (ctypes.c_void_p * 64)()
    libc.backtrace_symbols_fd(calls, libc.backtrace(calls, len(calls)), 2)
libc.signal(signal.SIGABRT, tell)
net = caffe.Net(sys.argv[1], caffe.TEST)
net.forward()
caffe.set_mode_gpu()
net.forward()
print("computed")
"""


@of_a_cuda_build
@without_card
@pytest.mark.parametrize(
    ("kind", "parameters", "function"),
    [
        ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", "ConvolutionLayer"),
        ("Pooling", "pooling_param { kernel_size: 2 }", "PoolingLayer"),
        ("InnerProduct", "inner_product_param { num_output: 4 }", "InnerProductLayer"),
        ("Sigmoid", "", "SigmoidLayer"),
        ("ReLU", "", "ReLULayer"),
        ("Softmax", "", "SoftmaxLayer"),
    ],
)
def test_in_gpu_mode_a_fast_layer_gives_way_to_caffes_own(tmp_path, kind, parameters, function):
    (tmp_path / "net.prototxt").write_text(f"""
        layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 16 dim: 8 dim: 8 }} }} }}
        layer {{ name: "out" type: "{kind}" bottom: "data" top: "out" {parameters} }}""")
    done = run(TO_THE_CARD, tmp_path / "net.prototxt")
    assert done.returncode == -signal.SIGABRT and done.stdout == ""
    assert f"N5caffe{len(function)}{function}IfE11Forward_gpu" in done.stderr, done.stderr


@of_a_cuda_build
@without_card
def test_on_the_cpu_nothing_is_said_of_the_missing_card(rewritten_solver, flow, tmp_path):
    lmdbs = flow.lmdbs / "stage_train", flow.lmdbs / "stage_val"
    solver = rewritten_solver(tmp_path / "net", "stage", lmdbs)
    done = run_tool("train", "--solver", solver, "--run", tmp_path / "run", "--max-iter", 2)
    assert done.returncode == 0
    assert "CUDA" not in done.stderr and "Cu" not in done.stderr


ON_DEVICE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests/support")
from nbcad.nets import caffe_net
from make_solver import joined, solver_of
caffe_net.use_device(sys.argv[1])
solver = solver_of("organ", 8, 0.0001, Path(sys.argv[2]))
solver.step(3)
caffe_net.caffe.set_random_seed(2)
net = caffe_net.load_net("models/stage_lenet5/deploy.prototxt")
images = np.random.default_rng(0).normal(size=(8, 1, 32, 32)).astype(np.float32)
stages, = caffe_net.forward(net, images, ["prob"])
np.savez(sys.argv[3], stages=stages, **joined(solver.net, "data"))
"""


@pytest.mark.gpu
@of_a_cuda_build
@with_card
def test_a_card_computes_what_the_cpu_computes(tmp_path):
    results = {}
    for device in ("cpu", "cuda:0"):
        done = run(ON_DEVICE, device, tmp_path, tmp_path / "values.npz")
        assert done.returncode == 0, done.stderr
        results[device] = dict(np.load(tmp_path / "values.npz"))
    for name, values in results["cpu"].items():
        np.testing.assert_allclose(results["cuda:0"][name], values, rtol=1e-4, atol=1e-5, err_msg=name)
