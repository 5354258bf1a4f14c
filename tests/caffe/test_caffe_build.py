"""The recipe in caffe/: the edits to Caffe's sources, the messages of the scripts, and the Caffe that came out."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_recipe import BUILD, RECIPE, script
from repository import ROOT

# The lines that are edited, as they stand in the two trees: Debian's snapshot has Debian's own patches already.
TAG = {
    "Makefile": "ifneq ($(CPU_ONLY), 1)\n\tLIBRARIES := cudart cublas curand\nendif\n",
    "src/caffe/util/io.cpp": "  coded_input->SetTotalBytesLimit(kProtoReadBytesLimit, 536870912);\n",
    "src/caffe/util/math_functions.cu": "#include <math_functions.h>  // CUDA's, not caffe's, for fabs, signbit\n",
    "src/caffe/common.cpp": (
        '    LOG(ERROR) << "Cannot create Cublas handle. Cublas won\'t be available.";\n'
        '    LOG(ERROR) << "Cannot create Curand generator. Curand won\'t be available.";\n'
        '        LOG(ERROR) <<\n            "Curand not available. Skipping setting the curand seed.";\n'
        "      << prop.maxGridSize[2];\n"
        '  LOG(INFO) << "Clock rate:                    " << prop.clockRate;\n'
        '  LOG(INFO) << "Total constant memory:         " << prop.totalConstMem;\n'
        '  LOG(INFO) << "Concurrent copy and execution: "\n      << (prop.deviceOverlap ? "Yes" : "No");\n'
        '  LOG(INFO) << "Number of multiprocessors:     " << prop.multiProcessorCount;\n'
        '  LOG(INFO) << "Kernel execution timeout:      "\n'
        '      << (prop.kernelExecTimeoutEnabled ? "Yes" : "No");\n  return;\n'
    ),
    "src/caffe/internal_thread.cpp": (
        "#ifndef CPU_ONLY\n  CUDA_CHECK(cudaGetDevice(&device));\n#endif\n"
        "#ifndef CPU_ONLY\n  CUDA_CHECK(cudaSetDevice(device));\n#endif\n"
    ),
    "src/caffe/test/test_deconvolution_layer.cpp": (
        "    EXPECT_EQ(result_2d.cpu_data()[i], result_nd.cpu_data()[i]);\n"
    ),
    "python/caffe/io.py": (
        "datum.data = arr.tostring()\n"
        "return np.fromstring(datum.data, dtype=np.uint8).reshape(\n"
        "skimage.io.imread(filename, as_grey=not color)\n"
        "resized_std = resize(im_std, new_dims, order=interp_order)\n"
    ),
    "include/caffe/sgd_solvers.hpp": (
        " public:\n\n protected:\n  void PreSolve();\n  Dtype GetLearningRate();\n  virtual void ApplyUpdate();\n"
    ),
    "python/caffe/_caffe.cpp": (
        '  bp::class_<SGDSolver<Dtype>, bp::bases<Solver<Dtype> >,\n        "SGDSolver", bp::init<string>());\n'
        "  bp::class_<NesterovSolver<Dtype>, bp::bases<Solver<Dtype> >,\n"
    ),
    "include/caffe/layer.hpp": (
        '#include "caffe/common.hpp"\n'
        "    SetLossWeights(top);\n"
        "  LayerParameter layer_param_;\n"
        "  case Caffe::CPU:\n    Forward_cpu(bottom, top);\n"
        "  case Caffe::CPU:\n    Backward_cpu(top, propagate_down, bottom);\n"
        "    return Forward_cpu(bottom, top);\n"
    ),
    "include/caffe/syncedmem.hpp": (
        '#include "caffe/common.hpp"\n  *ptr = mkl_malloc(size ? size:1, 64);\n  *ptr = malloc(size ? size:1);\n'
        "  SyncedHead head() { return head_; }\n  void to_cpu();\n"
    ),
    "include/caffe/layers/python_layer.hpp": (
        '    self_.attr("reshape")(bottom, top);\n    self_.attr("forward")(bottom, top);\n'
    ),
    "src/caffe/syncedmem.cpp": (
        "inline void SyncedMemory::to_cpu() {\ninline void SyncedMemory::to_gpu() {\n"
        "void SyncedMemory::set_cpu_data(void* data) {\nvoid SyncedMemory::set_gpu_data(void* data) {\n"
    ),
    "src/caffe/net.cpp": (
        '#include "caffe/common.hpp"\n#include "caffe/net.hpp"\n'
        "  for (int i = start; i <= end; ++i) {\n      before_forward_[c]->run(i);\n      after_forward_[c]->run(i);\n"
        "  for (int i = start; i >= end; --i) {\n"
        "      before_backward_[c]->run(i);\n      after_backward_[c]->run(i);\n"
        "      caffe_set(blob->count(), static_cast<Dtype>(0),\n                blob->mutable_cpu_diff());\n"
    ),
    "src/caffe/solvers/sgd_solver.cpp": (
        '#include "caffe/sgd_solvers.hpp"\nvoid SGDSolver<Dtype>::ClipGradients() {\n  ClipGradients();\n'
        "  for (int param_id = 0; param_id < 3;\n       ++param_id) {\n    Normalize(param_id);\n  }\n"
        "  this->net_->Update();\n"
    ),
}
SNAPSHOT = {
    **TAG,
    "src/caffe/test/test_deconvolution_layer.cpp": (
        "    EXPECT_FLOAT_EQ(result_2d.cpu_data()[i], result_nd.cpu_data()[i]);\n"
    ),
    "include/caffe/syncedmem.hpp": TAG["include/caffe/syncedmem.hpp"].replace(
        "malloc(size ? size:1);", "malloc(size);"
    ),
    "python/caffe/io.py": TAG["python/caffe/io.py"].replace("=interp_order)", "=interp_order, mode='constant')"),
    "include/caffe/sgd_solvers.hpp": (
        " public:\n  virtual void ApplyUpdate();\n  Dtype GetLearningRate();\n\n protected:\n  void PreSolve();\n"
    ),
    "python/caffe/_caffe.cpp": (
        '  bp::class_<SGDSolver<Dtype>, bp::bases<Solver<Dtype> >,\n        "SGDSolver", bp::init<string>())\n'
        '        .add_property("lr", &SGDSolver<Dtype>::GetLearningRate);\n'
        "  bp::class_<NesterovSolver<Dtype>, bp::bases<SGDSolver<Dtype> >,\n"
    ),
    # The tag counts the iteration elsewhere, in Solver::Step.
    "src/caffe/solvers/sgd_solver.cpp": TAG["src/caffe/solvers/sgd_solver.cpp"] + "  ++this->iter_;\n",
}
EDITED = {
    "Makefile": "ifneq ($(CPU_ONLY), 1)\n\tLIBRARIES += $(CUDA_LIBRARIES)\nendif\n",
    "src/caffe/util/io.cpp": "  coded_input->SetTotalBytesLimit(kProtoReadBytesLimit);\n",
    "src/caffe/util/math_functions.cu": "#include <cuda_runtime.h>  // for fabs, signbit\n",
    "src/caffe/common.cpp": (
        '    LOG(WARNING) << "Cannot create Cublas handle. Cublas won\'t be available.";\n'
        '    LOG(WARNING) << "Cannot create Curand generator. Curand won\'t be available.";\n'
        '        LOG(WARNING) <<\n            "Curand not available. Skipping setting the curand seed.";\n'
        "      << prop.maxGridSize[2];\n"
        '  LOG(INFO) << "Total constant memory:         " << prop.totalConstMem;\n'
        '  LOG(INFO) << "Number of multiprocessors:     " << prop.multiProcessorCount;\n  return;\n'
    ),
    "src/caffe/internal_thread.cpp": (
        "#ifndef CPU_ONLY\n  if (Caffe::mode() == Caffe::GPU) CUDA_CHECK(cudaGetDevice(&device));\n#endif\n"
        "#ifndef CPU_ONLY\n  if (mode == Caffe::GPU) CUDA_CHECK(cudaSetDevice(device));\n#endif\n"
    ),
    "src/caffe/test/test_deconvolution_layer.cpp": SNAPSHOT["src/caffe/test/test_deconvolution_layer.cpp"],
    "python/caffe/io.py": (
        "datum.data = arr.tobytes()\n"
        "return np.frombuffer(datum.data, dtype=np.uint8).copy().reshape(\n"
        "skimage.io.imread(filename, as_gray=not color)\n"
        "resized_std = resize(im_std, new_dims, order=interp_order, mode='constant', anti_aliasing=False)\n"
    ),
    "include/caffe/sgd_solvers.hpp": (
        " public:\n\n  Dtype GetLearningRate();\n\n protected:\n  void PreSolve();\n  virtual void ApplyUpdate();\n"
    ),
    "python/caffe/_caffe.cpp": SNAPSHOT["python/caffe/_caffe.cpp"],
    "include/caffe/layer.hpp": (
        '#include "caffe/common.hpp"\n#include "caffe/fast/chain.hpp"\n#include "caffe/fast/engine.hpp"\n'
        "    SetLossWeights(top);\n    fast_ = fast::Create<Dtype>(this, bottom, top);\n"
        "  LayerParameter layer_param_;\n"
        "  /** The fast implementation, or null if only the stock layer computes. */\n"
        "  boost::shared_ptr<fast::Implementation<Dtype> > fast_;\n"
        "  case Caffe::CPU:\n"
        "    if (!fast_ || !fast_->Forward(bottom, top)) { fast::RunDeferred(); Forward_cpu(bottom, top); }\n"
        "  case Caffe::CPU:\n"
        "    if (!fast_ || !fast_->Backward(top, propagate_down, bottom)) "
        "{ fast::RunDeferred(); Backward_cpu(top, propagate_down, bottom); }\n"
        "    return Forward_cpu(bottom, top);\n"
    ),
    "include/caffe/syncedmem.hpp": (
        '#include "caffe/common.hpp"\n#include "caffe/fast/memory.hpp"\n#include "caffe/fast/tensor.hpp"\n'
        "  *ptr = mkl_malloc(size ? size:1, 64);\n  *ptr = fast::Allocate(size);\n"
        "  SyncedHead head() { return tensor_ ? HEAD_AT_CPU : head_; }\n"
        "  /** Returns the values in the fast layers' layout, or null if they are in Caffe's. */\n"
        "  const boost::shared_ptr<fast::Tensor>& tensor() const { return tensor_; }\n"
        "  /** Returns whether the fast layers may hold the values: not if somebody has a pointer to them. */\n"
        "  bool may_hold_tensor() const { return head_ == UNINITIALIZED; }\n"
        "  void set_tensor(const boost::shared_ptr<fast::Tensor>& tensor);\n"
        "  void to_cpu();\n  void to_plain();\n  boost::shared_ptr<fast::Tensor> tensor_;\n"
    ),
    "include/caffe/layers/python_layer.hpp": (
        '    fast::RunDeferred(); self_.attr("reshape")(bottom, top);\n    self_.attr("forward")(bottom, top);\n'
    ),
    "src/caffe/syncedmem.cpp": (
        "inline void SyncedMemory::to_cpu() {\n  to_plain();\ninline void SyncedMemory::to_gpu() {\n  to_plain();\n"
        "void SyncedMemory::set_cpu_data(void* data) {\n  tensor_.reset();\n"
        "void SyncedMemory::set_gpu_data(void* data) {\n  tensor_.reset();\n"
    ),
    "src/caffe/net.cpp": (
        '#include "caffe/common.hpp"\n#include "caffe/fast/chain.hpp"\n#include "caffe/fast/descent.hpp"\n'
        '#include "caffe/net.hpp"\n  fast::Chain chain;\n  for (int i = start; i <= end; ++i) {\n'
        "      fast::RunDeferred(); before_forward_[c]->run(i);\n"
        "      fast::RunDeferred(); after_forward_[c]->run(i);\n"
        "  fast::Chain chain;\n  for (int i = start; i >= end; --i) {\n"
        "      fast::RunDeferred(); before_backward_[c]->run(i);\n"
        "      fast::RunDeferred(); after_backward_[c]->run(i);\n"
        "      fast::Clear(blob->count(), blob->mutable_cpu_diff());\n"
    ),
    "src/caffe/solvers/sgd_solver.cpp": (
        '#include "caffe/sgd_solvers.hpp"\n#include "caffe/fast/descent.hpp"\n'
        "void SGDSolver<Dtype>::ClipGradients() {\n"
        "  ClipGradients();\n"
        "  if (!fast::Descend<Dtype>(this->net_.get(), this->param_, this->type(), rate, history_)) {\n"
        "  for (int param_id = 0; param_id < 3;\n       ++param_id) {\n    Normalize(param_id);\n  }\n"
        "  this->net_->Update();\n  }\n"
    ),
}
EDITED_SNAPSHOT = {
    **EDITED,
    "include/caffe/sgd_solvers.hpp": SNAPSHOT["include/caffe/sgd_solvers.hpp"],
    "src/caffe/solvers/sgd_solver.cpp": EDITED["src/caffe/solvers/sgd_solver.cpp"] + "  ++this->iter_;\n",
}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def read_tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def edit_source():
    spec = importlib.util.spec_from_file_location("edit_source", RECIPE / "edit_source.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("files", "edited"), [(TAG, EDITED), (SNAPSHOT, EDITED_SNAPSHOT)], ids=["tag 1.0", "Debian's snapshot"]
)
def test_edits_fit_both_versions_and_twice_is_once(edit_source, tmp_path, files, edited):
    root = write_tree(tmp_path, files)
    assert edit_source.edit_tree(root) == []
    assert read_tree(root) == edited
    assert edit_source.edit_tree(root) == []
    assert read_tree(root) == edited


@pytest.mark.parametrize("name", sorted(TAG))
def test_edits_that_do_not_fit_are_named_and_nothing_is_written(edit_source, tmp_path, capsys, name):
    files = TAG | {name: "nothing of the kind\n"}
    root = write_tree(tmp_path, files)
    assert edit_source.main([str(root)]) == 1
    assert name in capsys.readouterr().err
    assert read_tree(root) == files


def test_edits_report_a_missing_file(edit_source, tmp_path):
    misfits = edit_source.edit_tree(tmp_path)
    assert len(misfits) == len(edit_source.EDITS)


def test_fetch_leaves_out_what_was_built(tmp_path):
    sources = {"src/caffe/proto/caffe.proto": "x", "python/caffe/io.py": "x", "include/caffe/blob.hpp": "x"}
    built = {"python/caffe/_caffe.so": "x", "python/caffe/proto/caffe_pb2.py": "x", "build/lib/libcaffe.so": "x"}
    clean = write_tree(tmp_path / "clean", sources)
    used = write_tree(tmp_path / "used", sources | built)
    done = script("fetch.sh", "tree", str(tmp_path / "out"), CAFFE_SRC=str(used))
    assert done.returncode == 0, done.stderr
    assert read_tree(tmp_path / "out") == sources
    identities = {script("fetch.sh", "identity", CAFFE_SRC=str(tree)).stdout for tree in (clean, used)}
    assert len(identities) == 1 and identities != {""}


def test_changed_sources_have_another_identity(tmp_path):
    write_tree(tmp_path, {"src/caffe/proto/caffe.proto": "x"})
    before = script("fetch.sh", "identity", CAFFE_SRC=str(tmp_path)).stdout
    write_tree(tmp_path, {"src/caffe/proto/caffe.proto": "y"})
    assert script("fetch.sh", "identity", CAFFE_SRC=str(tmp_path)).stdout != before


def test_sources_that_are_none_stop_the_build_with_one_line(tmp_path):
    done = script("build.sh", CAFFE_SRC=str(tmp_path), NBCAD_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "CAFFE_SRC" in done.stderr


def test_another_python_stops_the_build_with_one_line(tmp_path):
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\necho 3.13 in /usr\n")
    other.chmod(0o755)
    done = script("build.sh", PYTHON=str(other), NBCAD_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "3.13" in done.stderr and "3.11" in done.stderr


def test_runtime_packages_cover_what_is_linked():
    binaries = [BUILD / "build/tools/caffe", BUILD / "build/lib/libcaffe.so.1.0.0", BUILD / "python/caffe/_caffe.so"]
    needed, found = set(), {}
    for binary in binaries:
        dynamic = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
        linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        found |= dict(re.findall(r"^\s*(\S+) => (\S+)", linked, re.MULTILINE))
    # Every Debian system has the C library; C++'s comes with whatever is written in it; CUDA is no package of Debian's.
    others = r"lib(c|m|mvec|gcc_s|stdc\+\+|caffe|cudart|cublas|curand|nccl)\.so|ld-linux"
    needed = {name for name in needed if not re.match(others, name)}
    files = {str(Path(found[name]).resolve()) for name in needed}
    owners = subprocess.run(["dpkg", "-S", *files], capture_output=True, text=True, check=True).stdout
    packages = {line.split(":")[0] for line in owners.splitlines()}
    listed = {line.split()[1] for line in (RECIPE / "packages.txt").read_text().splitlines() if line[:4] == "run "}
    assert packages and packages <= listed


def test_import_is_version_1_without_warning_or_output():
    command = [sys.executable, "-W", "error", "-c", "import caffe; assert caffe.__version__ == '1.0.0'"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_package_hides_caffes_log():
    program = "from nbcad.nets.caffe_net import caffe; caffe.Net('models/stage_lenet5/deploy.prototxt', caffe.TEST)"
    environment = {name: value for name, value in os.environ.items() if name != "GLOG_minloglevel"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("folder", [".", ".."], ids=["beside the folder caffe/", "elsewhere"])
def test_package_without_caffe_says_how_to_build_it(folder):
    program = """
import sys
from pathlib import Path
sys.path = [path for path in sys.path if not (Path(path) / "caffe/__init__.py").exists()]
import nbcad.nets.caffe_net
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT / folder, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Caffe is not built for this Python: run `make caffe`")


def test_the_tool_in_the_environment_is_the_same_build():
    tool = Path(sys.executable).parent / "caffe"
    assert tool.resolve() == (BUILD / "build/tools/caffe").resolve()
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == "caffe version 1.0.0\n"


def test_every_layer_type_of_the_nets_is_there():
    nets = [text_format.Parse(net.read_text(), caffe_pb2.NetParameter()) for net in Path("models").glob("*/*.prototxt")]
    used = {layer.type for net in nets for layer in net.layer}
    assert used and used <= set(caffe.layer_type_list())


def test_datum_round_trip_keeps_the_image_writable(rng):
    image = rng.integers(0, 256, (1, 5, 7), dtype=np.uint8)
    datum = caffe_pb2.Datum.FromString(caffe.io.array_to_datum(image, label=2).SerializeToString())
    back = caffe.io.datum_to_array(datum)
    np.testing.assert_array_equal(back, image)
    assert datum.label == 2 and back.flags.writeable


def test_resize_image_interpolates_between_neighbours_only():
    image = np.zeros((9, 9, 1), np.float32)
    image[0, 0] = 1  # 9 -> 3 samples the pixels 1, 4, 7: a blur before it would let this one through
    assert not caffe.io.resize_image(image, (3, 3)).any()


def run_net(text: str, tmp_path: Path, values: np.ndarray) -> np.ndarray:
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.blobs["data"].data[...] = values
    return net.forward()["out"].copy()


# Half a unit in the last place below 1, and two.
@pytest.mark.parametrize(("layers", "error"), [("stock", 6e-8), ("fast", 1.2e-7)])
def test_sigmoid_compiled_with_fast_math_keeps_nan_and_accuracy(tmp_path, rng, monkeypatch, layers, error):
    monkeypatch.setenv("NBCAD_CAFFE_LAYERS", layers)
    values = rng.normal(0, 4, 10_001).astype(np.float32)
    values[:3] = np.nan, np.inf, -np.inf
    text = f"""
        layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: {values.size} }} }} }}
        layer {{ name: "out" type: "Sigmoid" bottom: "data" top: "out" }}"""
    out = run_net(text, tmp_path, values)
    assert np.isnan(out[0]) and out[1] == 1 and out[2] == 0
    exact = 1 / (1 + np.exp(-values[3:].astype(np.float64)))
    np.testing.assert_allclose(out[3:], exact, rtol=0, atol=error)


def test_same_seed_twice_trains_byte_identical_weights(tmp_path):
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
            shape { dim: 8 dim: 1 dim: 12 dim: 12 } shape { dim: 8 } data_filler { type: "gaussian" }
            data_filler { type: "constant" value: 1 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
            convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } } }
        layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
        layer { name: "score" type: "InnerProduct" bottom: "conv" top: "score"
            inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }""")
    weights = {}
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / "solver.prototxt").write_text(
            f'net: "{tmp_path}/net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: 5 '
            f'random_seed: {seed} snapshot_prefix: "{tmp_path}/{run}" solver_mode: CPU'
        )
        caffe.get_solver(str(tmp_path / "solver.prototxt")).solve()
        weights[run] = hashlib.sha256((tmp_path / f"{run}_iter_5.caffemodel").read_bytes()).hexdigest()
    assert weights["a"] == weights["b"] != weights["c"]
