"""Annotations in a CSV: what is malformed is refused by its line."""

import pytest

from nbcad.annotation.annotations import HEADER, read_annotations
from nbcad.errors import InputError


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.2,0,liver,normal,,,,", "organ 'liver'"),
        ("1.2,0,thorax,L9,,,,", "stage 'L9'"),
        ("1.2,0,thorax,L1,,,,", "without a box"),
        ("1.2,0,thorax,L1,5,5,4,9", "box"),
        ("1.2,0,thorax,normal,1,1,4,9", "needs a stage"),
        ("1.2,x,thorax,normal,,,,", "line 2"),
        ("1.2,0,thorax,L1,1,,4,9", "line 2"),
        ("1.2,0,thorax,normal,,,,\n1.2,0,adrenal,normal,,,,", "line 3"),
    ],
)
def test_malformed_annotation_names_its_line(tmp_path, line, message):
    path = tmp_path / "a.csv"
    path.write_text(",".join(HEADER) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_annotations(path)


def test_annotations_need_their_header(tmp_path):
    (tmp_path / "a.csv").write_text("sop,organ\n")
    with pytest.raises(InputError, match="header"):
        read_annotations(tmp_path / "a.csv")
