import argparse
import signal
import subprocess
import sys

import pytest

from nbcad import cli
from nbcad.errors import InputError
from nbcad.runtime.files import finish_replacing, replacing_file, replacing_folder, take_place
from nbcad.runtime.progress import progress
from repository import ROOT

TOOLS = sorted(ROOT.glob("tools/*.py"))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda p: p.name)
def test_help_is_quick_to_ask_for_and_wrong_usage_exits_2(tool):
    helped = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "usage:" in helped.stdout
    wrong = subprocess.run([sys.executable, tool, "--no-such-option"], capture_output=True, text=True)
    assert wrong.returncode == cli.USAGE


def test_an_error_is_one_line_and_exit_code_1(capsys):
    def main():
        raise InputError("it is not there; put it there")

    with pytest.raises(SystemExit) as left:
        cli.run(main)
    assert left.value.code == cli.FAILED
    assert capsys.readouterr().err.endswith("error: it is not there; put it there\n")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(tmp_path, ending):
    program = (
        "import sys, time; from nbcad import cli\n"
        "def main():\n"
        "    with cli.replacing_folder(sys.argv[1]):\n"
        "        print('begun', flush=True); time.sleep(60)\n"
        "cli.run(main)"
    )
    command = [sys.executable, "-c", program, tmp_path / "report"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(ending, signal.SIG_DFL)) as tool:
        assert tool.stdout.readline() == "begun\n" and list(tmp_path.iterdir())
        tool.send_signal(ending)
        assert tool.wait(10) == 128 + ending and tool.stderr.read().endswith(f"ended by {ending.name}\n")
    assert not list(tmp_path.iterdir())


def test_a_signal_ends_a_worker_that_was_just_forked_without_a_word():
    program = (
        "import os, signal, time; from nbcad import cli\n"
        "def main():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        time.sleep(60)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "cli.run(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (signal.SIGTERM, "")


def test_a_defect_keeps_its_traceback():
    def main():
        raise AssertionError

    with pytest.raises(AssertionError):
        cli.run(main)


@pytest.mark.parametrize("text", ["gpu", "cuda", "cuda:x", "CPU"])
def test_device_is_cpu_or_cuda_with_a_number(text):
    assert cli.device("cuda:1") == "cuda:1"
    with pytest.raises(argparse.ArgumentTypeError):
        cli.device(text)


@pytest.mark.parametrize("text", ["local:2", "10.0.0.7:8786", "tcp://head:8786", "tls://head.cluster:8786"])
def test_dask_is_a_schedulers_address_or_a_number_of_workers_here(text):
    assert cli.dask(text) == text
    for wrong in ("local", "local:0", "head", "http://head:8786", f"{text}/x"):
        with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT nor local:N"):
            cli.dask(wrong)


def test_file_is_replaced_only_when_it_was_written_to_the_end(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(ValueError), replacing_file(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old"
    with replacing_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_folder_is_replaced_only_when_it_was_filled_to_the_end(tmp_path):
    path = tmp_path / "lmdb"
    with replacing_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ValueError), replacing_folder(path) as temporary:
        (temporary / "half").touch()
        raise ValueError
    assert [p.name for p in path.iterdir()] == ["old"]
    with replacing_folder(path) as temporary:
        (temporary / "new").touch()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["lmdb"]


def _folder(path, content):
    path.mkdir()
    (path / content).touch()
    return path


def test_folders_change_places_in_one_step(tmp_path):
    path, new = _folder(tmp_path / "lmdb", "old"), _folder(tmp_path / "part", "new")
    take_place(new, path)
    assert [p.name for p in path.iterdir()] == ["new"] and [p.name for p in new.iterdir()] == ["old"]


def test_folder_is_replaced_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_exchange", lambda one, other: False)
    path, new = _folder(tmp_path / "lmdb", "old"), _folder(tmp_path / "part", "new")
    take_place(new, path)
    assert [p.name for p in path.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["lmdb"]


def test_folder_set_aside_by_a_killed_process_comes_back_or_goes(tmp_path):
    path = tmp_path / "lmdb"
    _folder(tmp_path / ".lmdb.old", "old")
    finish_replacing(path)
    assert [p.name for p in path.iterdir()] == ["old"]
    _folder(tmp_path / ".lmdb.old", "older")
    finish_replacing(path)
    assert [p.name for p in path.iterdir()] == ["old"] and [p.name for p in tmp_path.iterdir()] == ["lmdb"]


def test_progress_in_a_log_is_lines_with_count_and_eta(capsys):
    for _ in progress(range(3), desc="reading", unit="file"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert all("\r" not in line and line.startswith("reading") for line in lines)
    assert "3/3" in lines[-1] and "file/s" in lines[-1]
