import csv

from nbcad import caffe_net, initial_weights


def _layers(folder, kind):
    return {layer.name: layer for layer in caffe_net.read_net(folder / f"{kind}.prototxt").layer}


def test_each_variant_is_trained_on_the_given_lmdbs_from_its_own_start_and_measured(flow, tmp_path):
    names = ["gaussian 0.01", "8 x Glorot, fc7 of 64 units", "xavier, ReLU for Sigmoid"]
    variants = tuple(v for v in initial_weights.VARIANTS if v.name in names)
    rows = initial_weights.measure(tmp_path, flow.database, flow.lmdbs, variants, max_iter=2)
    assert [row["variant"] for row in rows] == names
    assert all(0 <= row[name] <= 1 for row in rows for name in ("softmax", "svm", "svm_untrained"))
    with (tmp_path / "initial_weights.csv").open() as file:
        assert [(r["variant"], r["iteration"]) for r in csv.DictReader(file)] == [(name, "2") for name in names]
    assert (tmp_path / "initial_weights.png").read_bytes().startswith(b"\x89PNG")

    gaussian, narrow, relu = (
        tmp_path / f for f in ("gaussian_0_01", "8_x_Glorot_fc7_of_64_units", "xavier_ReLU_for_Sigmoid")
    )
    for kind in ("train_val", "deploy"):
        filler = _layers(gaussian, kind)["conv2"].convolution_param.weight_filler
        assert (filler.type, round(filler.std, 6)) == ("gaussian", 0.01)
        assert _layers(narrow, kind)["fc7"].inner_product_param.num_output == 64
        assert {layer.type for layer in _layers(relu, kind).values()} >= {"ReLU"}
        assert "Sigmoid" not in {layer.type for layer in _layers(relu, kind).values()}
    assert _layers(gaussian, "train_val")["data"].data_param.source.startswith(str(flow.lmdbs))


def test_loss_of_guessing_is_the_entropy_of_the_shares():
    assert initial_weights._loss_of_guessing([0, 1] * 5) == initial_weights.np.log(2)
