import argparse
import signal
import subprocess
import sys

import pytest

from nbcad import cli
from nbcad.errors import InputError
from repository import ROOT

TOOLS = sorted(ROOT.glob("tools/[!_]*.py"))


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
        "import sys, time; from nbcad import cli; from nbcad.runtime.files import replacing_folder\n"
        "def main():\n"
        "    with replacing_folder(sys.argv[1]):\n"
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
