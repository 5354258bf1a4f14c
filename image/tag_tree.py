"""Revert Debian's snapshot of Caffe (August 2018) towards the tag 1.0 (April 2017): `tag_tree.py DIR`.

check.sh uses the result in place of BVLC's image, which it does not download. It is not the tag itself: the script
reverts only the later changes that could affect this project, in the protocol, the solver, pycaffe's access to both,
and the lines that edit_source.py edits. Nothing is written unless every change is found.
"""

import re
import sys
from pathlib import Path

# Path, pattern in the snapshot, replacement as in the tag.
CHANGES = (
    # BVLC/caffe #6238, 2018: the update counts the iteration, and Python can access more of the solver.
    ("src/caffe/solvers/sgd_solver.cpp", r"\n(?:  //[^\n]*\n)+  \+\+this->iter_;\n", ""),
    ("src/caffe/solver.cpp", r"(\n    ApplyUpdate\(\);\n)", r"\1\n    ++iter_;\n"),
    (
        "include/caffe/sgd_solvers.hpp",
        r"(  virtual void ApplyUpdate\(\);\n)(  Dtype GetLearningRate\(\);\n)\n( protected:\n  void PreSolve\(\);\n)",
        r"\3\2\1",
    ),
    ("python/caffe/_caffe.cpp", r'\n    \.def\("apply_update"[^\n]*', ""),
    ("python/caffe/_caffe.cpp", r'\n    \.add_property\("base_lr",[^;]*;', ";"),
    ("python/caffe/_caffe.cpp", r'\n        \.add_property\("lr",[^\n]*', ";"),
    ("python/caffe/_caffe.cpp", r"bp::bases<SGDSolver<Dtype> >", "bp::bases<Solver<Dtype> >"),
    # #6123, January 2018: the solver's `weights`, and a default for its snapshot_prefix.
    ("src/caffe/proto/caffe.proto", r"\n(?:  //[^\n]*\n)+  repeated string weights = 42;\n", ""),
    ("src/caffe/solver.cpp", r"\n *for \(int w_idx = 0;[^}]*\}", ""),
    ("src/caffe/util/upgrade_proto.cpp", r"\n  UpgradeSnapshotPrefixProperty\(param_file, param\);", ""),
    ("tools/caffe.cpp", r"    solver_param\.(?:clear|add)_weights\([^\n]*\n", ""),
    # #6002 (the Swish layer) and the Clip layer, 2018.
    ("src/caffe/proto/caffe.proto", r"\n  optional (?:Swish|Clip)Parameter [^\n]*", ""),
    ("src/caffe/proto/caffe.proto", r"\n// [^\n]*(?:Swish|Clip)Layer\nmessage [^}]*\}\n", ""),
    ("src/caffe/layer_factory.cpp", r'#include "caffe/layers/(?:clip|swish)_layer\.hpp"\n', ""),
    # The choice of pooling's rounding, 2018.
    ("src/caffe/proto/caffe.proto", r"\n  // How to calculate the output size[^}]*\}\n[^\n]*round_mode = 13[^\n]*", ""),
    ("include/caffe/layers/pooling_layer.hpp", r"\n  PoolingParameter_RoundMode round_mode_;", ""),
    ("src/caffe/layers/pooling_layer.cpp", r"\n  round_mode_ =[^\n]*", ""),
    (
        "src/caffe/layers/pooling_layer.cpp",
        r"  switch \(round_mode_\) \{\n  case \w+_CEIL:\n([\s\S]*?)    break;\n[\s\S]*?mode\.\";\n  \}\n",
        r"\1",
    ),
    # Debian's patch, and an argument for newer versions of scikit-image.
    ("src/caffe/test/test_deconvolution_layer.cpp", r"EXPECT_FLOAT_EQ(\(result_2d\.cpu_data)", r"EXPECT_EQ\1"),
    ("python/caffe/io.py", r"(order=interp_order), mode='constant'\)", r"\1)"),
)
LATER_FILES = ("include/caffe/layers/{}_layer.hpp", "src/caffe/layers/{}_layer.cpp", "src/caffe/layers/{}_layer.cu")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: tag_tree.py DIR (the root of the snapshot's sources)", file=sys.stderr)
        return 2
    root = Path(arguments[0])
    texts = {root / path: (root / path).read_text(encoding="utf-8") for path, _, _ in CHANGES}
    for path, snapshot, tag in CHANGES:
        texts[root / path], count = re.subn(snapshot, tag, texts[root / path])
        if not count:
            print(f"tag_tree.py: {path} does not contain /{snapshot}/: this is not Debian's snapshot", file=sys.stderr)
            return 1
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    for layer in ("clip", "swish"):
        for later in LATER_FILES:
            (root / later.format(layer)).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
