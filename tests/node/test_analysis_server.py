from pathlib import Path

from make_dicom import write
from make_node import raising, study
from nbcad.language.message import from_text
from nbcad.node import analysis_server
from nbcad.node.config import Analyse


def test_analysis_answers_with_results_or_with_the_reason_for_none(eager, tmp_path, monkeypatch):
    for n, image in enumerate(study(1)):
        write(image, tmp_path / "in" / str(n))
    found = analysis_server.analyse_study(tmp_path / "in", tmp_path / "out", eager, Analyse())
    assert {"0001.sr.dcm", "0001-01.sc.dcm"} <= {Path(path).name for path in found["results"]}
    assert found["lesions"] > 0 and found["reason"] == "" and found["stage"] in eager.stages
    image = study(2)[0]
    image.SeriesDescription = "T1"
    write(image, tmp_path / "t1" / "x")
    found = analysis_server.analyse_study(tmp_path / "t1", tmp_path / "out1", eager, Analyse())
    assert str(from_text(found["reason"])).startswith("no series could be analysed: rule") and found["results"] == []
    assert (tmp_path / "out1" / "report.html").is_file()
    assert "failed" in analysis_server.analyse_study(tmp_path / "none", tmp_path / "out2", eager, Analyse())
    monkeypatch.setattr(analysis_server, "write_report", raising(MemoryError))
    failed = analysis_server.analyse_study(tmp_path / "in", tmp_path / "out3", eager, Analyse())["failed"]
    assert "4 GiB" in str(from_text(failed))
