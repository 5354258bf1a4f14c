"""The command nbcad as a user has it: from any folder, with as many words as he wants."""

import json
import os
import re
import subprocess
import sys

import pytest

from nbcad import __main__ as command
from nbcad import about, cli
from nbcad.runtime import paths, verbosity
from repository import ROOT


def nbcad(folder, *words, **environment) -> subprocess.CompletedProcess:
    """Run the command in a folder."""
    line = [sys.executable, "-m", "nbcad", *map(str, words)]
    given = os.environ | environment
    given.pop("GLOG_minloglevel", None)  # what this process chose for its own Caffe
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, env=given)


@pytest.fixture
def ended(capsys, monkeypatch):
    """Return a function that gives exit code, stdout and stderr of some words."""
    monkeypatch.setenv(verbosity.VARIABLE, verbosity.NORMAL)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            command.main(words)
        return left.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("word", "near"),
    [("infre", "is it infer?"), ("make", "is it make-"), ("Train", "is it train"), ("xyz", "nbcad --help lists them")],
)
def test_unknown_step_is_answered_with_those_of_similar_names(ended, word, near):
    code, _, said = ended(word, "--out", "x")
    assert code == cli.USAGE
    assert f"nbcad: error: there is no step '{word}'; " in said.splitlines()[-1] and near in said.splitlines()[-1]


def test_without_a_step_it_says_where_they_are_listed(ended):
    assert ended()[0] == cli.USAGE
    assert "nbcad --help" in ended("-v")[2]


@pytest.mark.parametrize("name", ["paper-diff", "paper_diff"])
def test_error_of_a_step_is_one_line_with_its_name(ended, tmp_path, name):
    code, _, said = ended(name, "--solver", str(tmp_path / "none.prototxt"))
    assert code == cli.FAILED
    assert re.fullmatch(r"nbcad paper-diff: error: .*none\.prototxt does not exist.*\n", said)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("infer", "--out", "x"), "give DICOM_DIR or --dicomweb URL"),
        (("infer", "DIR", "--out", "x", "--store"), "--store with both"),
        (("make-database", "--shares", "1", "1", "1"), "--shares must"),
        (("make-database", "--folds", "2"), "--folds must"),
        (("make-database", "--lesions", "("), "--lesions is no regular expression"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(ended, words, told):
    code, _, said = ended(*words)
    assert code == cli.USAGE and said.startswith(f"usage: nbcad {words[0]}")
    assert said.splitlines()[-1].startswith(f"nbcad {words[0]}: error: ") and told in said


def test_missing_caffe_is_one_line_that_says_how_to_build_it(ended, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbcad.training.driver", None)  # whatever imports Caffe
    with pytest.raises(ModuleNotFoundError):
        command.main(["train", "--solver", "x", "--run", "y"])

    def without_caffe(options):
        raise ModuleNotFoundError("Caffe is not built for this Python: run `make caffe`", name="caffe")

    monkeypatch.setattr("nbcad.commands.train.run", without_caffe)
    code, _, said = ended("train", "--solver", "x", "--run", "y")
    assert code == cli.FAILED and "run `make caffe`" in said and said.count("\n") == 1


# --- versions and models


def test_version_names_nbcad_python_caffe_and_models(ended, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    code, said, _ = ended("--version")
    assert code == cli.DONE
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ["nbcad", "Python", "Caffe", "models:"]
    assert re.match(r"Caffe 1\.0\.\S+, build \w{16}, (fast|stock) layers", lines[2]) and "none trained" in lines[3]


def test_version_tells_what_each_trained_model_is(flow, tmp_path):
    organ, stage = about.trained(flow.models)
    weights = json.loads((flow.models / "organ/model.json").read_text())["sha256"]["final.caffemodel"]
    assert "organ net and SVM (adrenal" in organ and weights[:12] in organ and "10 iterations" in organ
    assert "stager (normal, L1" in stage and "solver.prototxt" in stage
    (tmp_path / "organ").mkdir()
    (tmp_path / "organ/model.json").write_text("{")
    assert "cannot be read" in next(about.trained(tmp_path))


def test_version_takes_no_folder_named_caffe_for_a_built_caffe(ended, monkeypatch):
    class Folder:
        origin = None

    monkeypatch.setattr(about.importlib.util, "find_spec", lambda name: Folder)
    assert "Caffe not built: make caffe" in ended("--version")[1]


# --- completion


def _completed(tmp_path, line: str) -> list[str]:
    """Return what the shell is told when TAB is pressed behind a line."""
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "told"), "_ARGCOMPLETE_IFS": "\n"}
    nbcad(ROOT, COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE_COMP_WORDBREAKS=" ", **asked)
    return (tmp_path / "told").read_text().split()


def test_tab_completes_steps_options_and_choices(tmp_path):
    assert _completed(tmp_path, "nbcad make") == ["make-phantom", "make-database", "make-lmdb"]
    assert _completed(tmp_path, "nbcad infer --dicomw") == ["--dicomweb"]
    assert _completed(tmp_path, "nbcad infer --lang ") == ["en", "zh"]
    assert _completed(tmp_path, "nbcad bench tr") == ["training"]


# --- from any folder, quiet and verbose


@pytest.fixture
def study(flow, tmp_path):
    """A folder elsewhere, in which a study and the models lie under relative names."""
    (tmp_path / "study").symlink_to(min((flow.phantom / "dicom").iterdir()))
    (tmp_path / "models").symlink_to(flow.models)
    return tmp_path


def test_a_study_is_analysed_from_any_folder_and_quiet_says_nothing(study):
    done = nbcad(study, "-q", "infer", "study", "--out", "report", "--models", "models")
    assert (done.returncode, done.stdout, done.stderr) == (cli.DONE, "", "")
    assert (study / "report/report.json").is_file()


def test_verbose_tells_of_files_not_used_of_caffe_and_of_the_cost(study):
    done = nbcad(study, "infer", "study", "--out", "report", "--models", "models", "--verbose")
    report = json.loads((study / "report/report.json").read_text())
    ignored = [file for file in report["files"] if file["status"] == "ignored"]
    told = set(done.stderr.splitlines())
    assert ignored and {f"ignored: {file['path']}: {file['reason']}" for file in ignored} <= told
    assert "Creating layer conv1" in done.stderr
    assert re.search(r"^infer: [\d.]+ s, .* MiB of memory", done.stderr, re.MULTILINE)


def test_as_usual_it_tells_of_results_and_progress_alone(study):
    done = nbcad(study, "infer", "study", "--out", "report", "--models", "models")
    assert done.stdout.splitlines()[-1].startswith("report: report/report.html")
    assert all(line.startswith("analyse:") for line in done.stderr.splitlines()) and done.stderr


def test_quiet_still_answers_and_names_what_is_refused(flow, tmp_path):
    audited = nbcad(tmp_path, "audit-database", "--database", flow.database, "-q")
    assert "no patient is on two sides" in audited.stdout and audited.stderr == ""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "letter").write_text("of a patient")
    done = nbcad(tmp_path, "deidentify", "archive", "--out", "copies", "--key", "key", "-q")
    assert done.returncode == cli.PARTLY_REFUSED
    assert done.stdout.startswith("refused: archive/letter: ") and done.stdout.count("\n") == 1
