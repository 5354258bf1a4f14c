import shutil

import lmdb
import numpy as np
import pytest

from nbcad.errors import DatabaseError
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.samples import lmdb_io
from nbcad.samples.database import SampleDatabase
from sample_database import change

DATA_LAYER = """
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ mean_value: 64 scale: 0.015625 }}
  data_param {{ source: "{}" backend: LMDB batch_size: 5 }} }}
"""


def test_caffes_data_layer_delivers_what_inference_feeds(tmp_path, rng):
    images = rng.integers(0, 255, (5, 32, 32), dtype=np.uint8)
    lmdb_io.write(tmp_path / "x", images, np.arange(5))
    (tmp_path / "net.prototxt").write_text(DATA_LAYER.format(tmp_path / "x"))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward()
    transform = caffe_net.Transform(64, 0.015625)
    np.testing.assert_array_equal(net.blobs["data"].data, transform(images)[:, None])
    np.testing.assert_array_equal(net.blobs["label"].data, np.arange(5))


def test_keys_are_zero_padded_and_datums_are_caffes_own(tmp_path, rng):
    images = rng.integers(0, 255, (12, 4, 6), dtype=np.uint8)
    lmdb_io.write(tmp_path / "x", images, np.arange(12))
    with lmdb.open(str(tmp_path / "x"), readonly=True, lock=False) as environment, environment.begin() as transaction:
        entries = list(transaction.cursor())
    assert [key for key, _ in entries] == [b"%010d" % n for n in range(12)]
    datum = caffe_pb2.Datum.FromString(entries[11][1])
    assert (datum.channels, datum.height, datum.width, datum.label) == (1, 4, 6, 11)
    read_images, read_labels = lmdb_io.read(tmp_path / "x")
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, np.arange(12))


def test_fingerprint_depends_on_every_entry_and_on_nothing_else(tmp_path, rng):
    images = rng.integers(0, 255, (3, 4, 4), dtype=np.uint8)
    for name in "ab":
        lmdb_io.write(tmp_path / name, images, np.arange(3))
    assert lmdb_io.fingerprint(tmp_path / "a") == lmdb_io.fingerprint(tmp_path / "b")
    lmdb_io.write(tmp_path / "b", images, np.array([0, 1, 1]))
    assert lmdb_io.fingerprint(tmp_path / "a") != lmdb_io.fingerprint(tmp_path / "b")


def test_lmdb_larger_than_its_map_is_written_whole(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(lmdb_io, "FIRST_MAP", 1 << 16)
    images = rng.integers(0, 255, (300, 32, 32), dtype=np.uint8)
    lmdb_io.write(tmp_path / "x", images, np.arange(300))
    np.testing.assert_array_equal(lmdb_io.read(tmp_path / "x")[0], images)


def test_more_images_than_labels_leave_no_lmdb(tmp_path):
    with pytest.raises(ValueError):
        lmdb_io.write(tmp_path / "x", np.zeros((3, 4, 4), np.uint8), [0, 1])
    assert list(tmp_path.iterdir()) == []


def test_unfinished_and_missing_lmdbs_are_refused_by_name(tmp_path):
    with pytest.raises(DatabaseError, match="nowhere does not exist; run `make data`"):
        lmdb_io.read(tmp_path / "nowhere")
    lmdb_io.write(tmp_path / "x", np.zeros((3, 4, 4), np.uint8), range(3))
    (tmp_path / "x" / "complete").write_text("4\n")
    with pytest.raises(DatabaseError, match="/x has 3 entries, not 4"):
        lmdb_io.read(tmp_path / "x")
    (tmp_path / "x" / "complete").unlink()
    for use in (lmdb_io.read, lmdb_io.fingerprint):
        with pytest.raises(DatabaseError, match="/x is not finished"):
            use(tmp_path / "x")


def test_lmdbs_of_another_state_of_the_database_are_noticed(flow, tmp_path):
    path = shutil.copy(flow.database, tmp_path / "samples.sqlite")
    with SampleDatabase.open(path) as database:
        lmdb_io.check_made_from(flow.lmdbs, database)
        change(path, "UPDATE sample SET col = col + 1 WHERE task = 'stage' AND split = 'train' AND key = 0")
        with pytest.raises(DatabaseError, match="another sample database"):
            lmdb_io.check_made_from(flow.lmdbs, database)
    with pytest.raises(DatabaseError, match=r"info.json does not exist"):
        lmdb_io.read_info(tmp_path)
