"""Edit Caffe's sources for today's libraries and the fast layers: `edit_source.py DIR`, DIR being the sources' root.

Each edit is a search and its replacement, and fits both Debian's snapshot of August 2018 and BVLC's tag 1.0. Editing
again changes nothing. If neither the old nor the new text is found, the tree is an unknown one: the script names the
file and the edit, writes nothing and exits with 1.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple


class Edit(NamedTuple):
    """A replacement of every match of `old` in `path` by `new`; `done` matches the edited text only."""

    path: str
    old: str
    new: str
    done: str
    why: str


EDITS = (
    Edit(
        path="src/caffe/util/io.cpp",
        old=r"SetTotalBytesLimit\(\s*(\w+)\s*,\s*\w+\s*\)",
        new=r"SetTotalBytesLimit(\1)",
        done=r"SetTotalBytesLimit\(\w+\)",
        why="protobuf 3.21 dropped the second argument, the threshold of a warning",
    ),
    Edit(
        path="src/caffe/test/test_deconvolution_layer.cpp",
        old=r"EXPECT_EQ\((result_2d\.cpu_data\(\)\[i\], result_nd\.cpu_data\(\)\[i\])\)",
        new=r"EXPECT_FLOAT_EQ(\1)",
        done=r"EXPECT_FLOAT_EQ\(result_2d\.cpu_data\(\)\[i\]",
        why="sums of the same products in different orders may differ in the last bit (Debian's patch)",
    ),
    Edit(
        path="python/caffe/io.py",
        old=r"arr\.tostring\(\)",
        new=r"arr.tobytes()",
        done=r"arr\.tobytes\(\)",
        why="NumPy 2.3 removed ndarray.tostring",
    ),
    Edit(
        path="python/caffe/io.py",
        old=r"np\.fromstring\(datum\.data, dtype=np\.uint8\)",
        new=r"np.frombuffer(datum.data, dtype=np.uint8).copy()",
        done=r"np\.frombuffer\(datum\.data, dtype=np\.uint8\)\.copy\(\)",
        why="NumPy's fromstring refuses binary data; the copy keeps the result writable as before",
    ),
    Edit(
        path="python/caffe/io.py",
        old=r"\bas_grey=",
        new=r"as_gray=",
        done=r"\bas_gray=",
        why="scikit-image 0.16 renamed imread's argument",
    ),
    Edit(
        path="python/caffe/io.py",
        old=r"resize\(im_std, new_dims, order=interp_order(?:, mode='constant')?\)",
        new=r"resize(im_std, new_dims, order=interp_order, mode='constant', anti_aliasing=False)",
        done=r"resize\(im_std, new_dims, order=interp_order, mode='constant', anti_aliasing=False\)",
        why="these were scikit-image's defaults when Caffe 1.0 was released: no reflection, no blur",
    ),
    Edit(
        path="Makefile",
        old=r"LIBRARIES := cudart cublas curand",
        new=r"LIBRARIES += $(CUDA_LIBRARIES)",
        done=r"LIBRARIES \+= \$\(CUDA_LIBRARIES\)",
        why="cuda.sh names the CUDA libraries that it found, and the libraries of Makefile.config stay",
    ),
    Edit(
        path="src/caffe/util/math_functions.cu",
        old=r"#include <math_functions\.h>.*\n",
        new=r"#include <cuda_runtime.h>  // for fabs, signbit\n",
        done=r"#include <cuda_runtime\.h>",
        why="CUDA 13 deprecates math_functions.h",
    ),
    Edit(
        path="src/caffe/common.cpp",
        old=r'  LOG\(INFO\) << "(?:Clock rate|Concurrent copy and execution|Kernel execution timeout):[^;]*;\n',
        new="",
        done=r'maxGridSize\[2\];\n  LOG\(INFO\) << "Total constant memory',
        why="CUDA 13 removed these fields of cudaDeviceProp",
    ),
    Edit(
        path="src/caffe/common.cpp",
        old=r'LOG\(ERROR\)( <<\s+"(?:Cannot create Cu|Curand not available))',
        new=r"LOG(WARNING)\1",
        done=r'LOG\(WARNING\) <<\s+"Cannot create Cu',
        why="a CUDA build that computes on the CPU does not need a card",
    ),
    Edit(
        path="src/caffe/internal_thread.cpp",
        old=r"(\n  )(CUDA_CHECK\(cudaGetDevice\()",
        new=r"\1if (Caffe::mode() == Caffe::GPU) \2",
        done=r"if \(Caffe::mode\(\) == Caffe::GPU\) CUDA_CHECK\(cudaGetDevice",
        why="a net with a Data layer ended the process on a machine without a card",
    ),
    Edit(
        path="src/caffe/internal_thread.cpp",
        old=r"(\n  )(CUDA_CHECK\(cudaSetDevice\()",
        new=r"\1if (mode == Caffe::GPU) \2",
        done=r"if \(mode == Caffe::GPU\) CUDA_CHECK\(cudaSetDevice",
        why="without a card too, the new thread must start; its own mode is not set yet",
    ),
    Edit(
        path="include/caffe/layer.hpp",
        old=r'(#include "caffe/common.hpp"\n)(?!#include "caffe/fast)',
        new=r'\1#include "caffe/fast/chain.hpp"\n#include "caffe/fast/engine.hpp"\n',
        done=r'#include "caffe/fast/chain.hpp"',
        why="a layer may have a fast implementation (caffe/layers/)",
    ),
    Edit(
        path="include/caffe/layer.hpp",
        old=r"(    SetLossWeights\(top\);\n)(?!    fast_)",
        new=r"\1    fast_ = fast::Create<Dtype>(this, bottom, top);\n",
        done=r"fast_ = fast::Create",
        why="the implementation is chosen when the layer is set up",
    ),
    Edit(
        path="include/caffe/layer.hpp",
        old=r"(case Caffe::CPU:\s*?(?:\n    Reshape\(bottom, top\);)?\n    )(Forward_cpu\(bottom, top\);)",
        new=r"\1if (!fast_ || !fast_->Forward(bottom, top)) { fast::RunDeferred(); \2 }",
        done=r"fast::RunDeferred\(\); Forward_cpu",
        why="the stock layer computes only if the fast implementation cannot",
    ),
    Edit(
        path="include/caffe/layer.hpp",
        old=r"(case Caffe::CPU:\n    )(Backward_cpu\(top, propagate_down, bottom\);)",
        new=r"\1if (!fast_ || !fast_->Backward(top, propagate_down, bottom)) { fast::RunDeferred(); \2 }",
        done=r"fast::RunDeferred\(\); Backward_cpu",
        why="the stock layer computes only if the fast implementation cannot",
    ),
    Edit(
        path="include/caffe/layer.hpp",
        old=r"(  LayerParameter layer_param_;\n)(?!  /\*\* The fast)",
        new=r"\1  /** The fast implementation, or null if only the stock layer computes. */\n"
        r"  boost::shared_ptr<fast::Implementation<Dtype> > fast_;\n",
        done=r"fast_;",
        why="the layer keeps its fast implementation",
    ),
    Edit(
        path="include/caffe/syncedmem.hpp",
        old=r'(#include "caffe/common.hpp"\n)(?!#include "caffe/fast)',
        new=r'\1#include "caffe/fast/memory.hpp"\n#include "caffe/fast/tensor.hpp"\n',
        done=r'#include "caffe/fast/memory.hpp"',
        why="fast layers hold values in their own layout",
    ),
    Edit(
        path="include/caffe/syncedmem.hpp",
        old=r"\*ptr = malloc\(size(?: \? size:1)?\);",
        new=r"*ptr = fast::Allocate(size);",
        done=r"fast::Allocate",
        why="large blobs are allocated in large pages",
    ),
    Edit(
        path="include/caffe/syncedmem.hpp",
        old=r"return head_; }",
        new=r"return tensor_ ? HEAD_AT_CPU : head_; }\n"
        r"  /** Returns the values in the fast layers' layout, or null if they are in Caffe's. */\n"
        r"  const boost::shared_ptr<fast::Tensor>& tensor() const { return tensor_; }\n"
        r"  /** Returns whether the fast layers may hold the values: not if somebody has a pointer to them. */\n"
        r"  bool may_hold_tensor() const { return head_ == UNINITIALIZED; }\n"
        r"  void set_tensor(const boost::shared_ptr<fast::Tensor>& tensor);",
        done=r"may_hold_tensor",
        why="fast layers hold values in their own layout",
    ),
    Edit(
        path="include/caffe/syncedmem.hpp",
        old=r"(  void to_cpu\(\);\n)(?!  void to_plain)",
        new=r"\1  void to_plain();\n  boost::shared_ptr<fast::Tensor> tensor_;\n",
        done=r"void to_plain",
        why="fast layers hold values in their own layout",
    ),
    Edit(
        path="src/caffe/syncedmem.cpp",
        old=r"(void SyncedMemory::to_[cg]pu\(\) \{\n)(?!  to_plain)",
        new=r"\1  to_plain();\n",
        done=r"  to_plain\(\);",
        why="a caller that asks for the values gets them in Caffe's layout, in which they then stay",
    ),
    Edit(
        path="src/caffe/syncedmem.cpp",
        old=r"(void SyncedMemory::set_[cg]pu_data\(void\* data\) \{\n)(?!  tensor_)",
        new=r"\1  tensor_.reset();\n",
        done=r"  tensor_.reset",
        why="new values replace those in the fast layers' layout",
    ),
    Edit(
        path="include/caffe/sgd_solvers.hpp",
        old=r"( protected:\n  void PreSolve\(\);\n)(  Dtype GetLearningRate\(\);\n)",
        new=r"\2\n\1",
        done=r"  Dtype GetLearningRate\(\);\n\n protected:\n  void PreSolve",
        why="the log contains each iteration's learning rate, which BVLC's tag 1.0 keeps private",
    ),
    Edit(
        path="python/caffe/_caffe.cpp",
        old=r'("SGDSolver", bp::init<string>\(\)\));',
        new=r'\1\n        .add_property("lr", &SGDSolver<Dtype>::GetLearningRate);',
        done=r'add_property\("lr", &SGDSolver<Dtype>::GetLearningRate\)',
        why="Python reads the learning rate for the log",
    ),
    Edit(
        path="python/caffe/_caffe.cpp",
        old=r"(bp::class_<(?!SGD)\w+Solver<Dtype>, bp::bases<)Solver<Dtype> >",
        new=r"\1SGDSolver<Dtype> >",
        done=r"bp::class_<NesterovSolver<Dtype>, bp::bases<SGDSolver<Dtype> >",
        why="Python reads the learning rate of the other kinds of solvers too",
    ),
    Edit(
        path="src/caffe/net.cpp",
        old=r'(#include "caffe/common.hpp"\n)(?!#include "caffe/fast)',
        new=r'\1#include "caffe/fast/chain.hpp"\n#include "caffe/fast/descent.hpp"\n',
        done=r'#include "caffe/fast/chain.hpp"',
        why="a net runs fast layers image by image and clears gradients on all cores",
    ),
    Edit(
        path="src/caffe/net.cpp",
        old=r"(?<!chain;\n)(  for \(int i = start; i (?:<= end; \+\+|>= end; --)i\))",
        new=r"  fast::Chain chain;\n\1",
        done=r"fast::Chain chain;",
        why="successive fast layers process one image at a time",
    ),
    Edit(
        path="src/caffe/net.cpp",
        old=r"(?<!RunDeferred\(\); )((?:before|after)_(?:for|back)ward_\[c\]->run)",
        new=r"fast::RunDeferred(); \1",
        done=r"fast::RunDeferred\(\); before_forward_",
        why="a callback finds the work of the layers before it done",
    ),
    Edit(
        path="include/caffe/layers/python_layer.hpp",
        old=r'(?<!RunDeferred\(\); )(self_\.attr\("reshape"\))',
        new=r"fast::RunDeferred(); \1",
        done=r"fast::RunDeferred\(\); self_",
        why="a layer in Python may read and write any values, so the work of the layers before it must be done",
    ),
    Edit(
        path="src/caffe/net.cpp",
        old=r"caffe_set\(blob->count\(\), static_cast<Dtype>\(0\),\s*blob->mutable_cpu_diff\(\)\);",
        new=r"fast::Clear(blob->count(), blob->mutable_cpu_diff());",
        done=r"fast::Clear",
        why="all cores clear the gradients",
    ),
    Edit(
        path="src/caffe/solvers/sgd_solver.cpp",
        old=r'(#include "caffe/sgd_solvers.hpp"\n)(?!#include "caffe/fast)',
        new=r'\1#include "caffe/fast/descent.hpp"\n',
        done=r'#include "caffe/fast/descent.hpp"',
        why="SGD's step takes one pass over the parameters instead of five",
    ),
    Edit(
        path="src/caffe/solvers/sgd_solver.cpp",
        # Not an early return: the snapshot counts the iteration after the loop (the tag does so in Solver::Step).
        old=r"(  ClipGradients\(\);\n)(  for \([\s\S]*?  this->net_->Update\(\);\n)",
        new=r"\1  if (!fast::Descend<Dtype>(this->net_.get(), this->param_, this->type(), rate, history_)) {\n"
        r"\2  }\n",
        done=r"fast::Descend",
        why="SGD's step takes one pass over the parameters instead of five",
    ),
)


def edited(text: str, edit: Edit) -> str | None:
    """Return the text after one edit, or None if the edit does not fit."""
    result, count = re.subn(edit.old, edit.new, text)
    return result if count or re.search(edit.done, text) else None


def edit_tree(root: Path) -> list[str]:
    """Make all edits in the tree at `root`, or none if one of them does not fit.

    Returns one line for each edit that does not fit, hence none if the tree has been edited.
    """
    texts: dict[Path, str] = {}
    misfits = []
    for edit in EDITS:
        path = root / edit.path
        if path not in texts and path.is_file():
            texts[path] = path.read_text(encoding="utf-8")
        result = edited(texts[path], edit) if path in texts else None
        if result is None:
            misfits.append(f"{edit.path}: found neither /{edit.old}/ nor its replacement ({edit.why})")
        else:
            texts[path] = result
    if not misfits:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    return misfits


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: edit_source.py DIR (the root of Caffe's sources)", file=sys.stderr)
        return 2
    misfits = edit_tree(Path(arguments[0]))
    for line in misfits:
        print(f"caffe: {line}", file=sys.stderr)
    if misfits:
        print(
            "caffe: the sources are neither Debian's snapshot 1.0.0+git20180821 nor BVLC's tag 1.0; use one of "
            "these, or adapt caffe/edit_source.py to your sources.",
            file=sys.stderr,
        )
    return 1 if misfits else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
