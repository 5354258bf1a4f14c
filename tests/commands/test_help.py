"""What each step says of itself, and that saying so is quick."""

import argparse
import shlex
import subprocess
import sys

import pytest

from nbcad import __main__ as command
from nbcad import cli
from nbcad.commands import GROUPS, STEPS, load
from repository import ROOT

HEAVY = {
    "caffe",
    "cv2",
    "distributed",
    "flask",
    "matplotlib",
    "numpy",
    "pydicom",
    "scipy",
    "skimage",
    "sklearn",
    "tqdm",
}
each_step = pytest.mark.parametrize("step", STEPS)


@pytest.fixture
def helped(capsys, monkeypatch):
    """Return what the help of some words is, as one line of text each paragraph."""
    monkeypatch.setenv("COLUMNS", "500")

    def ask(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            command.main([*words, "--help"])
        assert left.value.code == cli.DONE
        return capsys.readouterr().out

    return ask


def _examples(step: str) -> list[list[str]]:
    """Return the words of a step's examples, without what is the shell's."""
    return [shlex.split(example.split(" > ")[0]) for example in load(step).EXAMPLES]


def _options(step: str) -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    load(step).add_arguments(parser)
    return parser._actions


@each_step
def test_help_has_a_description_examples_and_exit_codes(step, helped):
    text = helped(step)
    assert " ".join(load(step).__doc__.split()) in text
    shown = text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert shown == [f"  {example}" for example in load(step).EXAMPLES] and 2 <= len(shown) <= 4
    assert "exit codes: 0 done; 1 failed" in text


@each_step
def test_help_explains_each_option_with_a_default_that_says_something(step, helped):
    text = helped(step)
    for option in _options(step):
        assert option.help, option.dest
    for nothing in ("PosixPath", "(default: None)", "(default: False)", "(default: [])", "(default: ())", str(ROOT)):
        assert nothing not in text


@each_step
def test_help_is_the_same_in_every_folder(step, helped, tmp_path, monkeypatch):
    at_root = helped(step)
    monkeypatch.chdir(tmp_path)
    assert helped(step) == at_root


@each_step
def test_examples_are_valid_command_lines(step):
    for program, name, *words in _examples(step):
        assert (program, name) == ("nbcad", step)
        command.build_parser([step]).parse_args([name, *words])


def test_defaults_are_the_repository_s_folders_wherever_the_user_stands(helped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "(default: data/lmdb of the repository)" in helped("make-lmdb")
    options = command.build_parser(["make-lmdb"]).parse_args(["make-lmdb"])
    assert (options.out, options.database) == (ROOT / "data/lmdb", ROOT / "data/samples.sqlite")


def test_all_steps_are_listed_by_the_flow_with_a_line_each(helped):
    lines = helped().splitlines()
    place = lines.index("data:")
    for group, names in GROUPS.items():
        assert lines[place : place + 1 + len(names)] == [f"{group}:", *(f"  {n:<23} {load(n).HELP}" for n in names)]
        assert max(map(len, lines[place : place + 1 + len(names)])) <= 120
        place += 1 + len(names)
    assert any("register-python-argcomplete nbcad" in line for line in lines)


def test_no_help_imports_what_only_a_step_that_runs_needs():
    program = (
        "import sys; from nbcad.__main__ import main\n"
        f"for words in [[], *([step] for step in {STEPS}), ['make_lmdb', '--no-such-option']]:\n"
        "    try:\n"
        "        main([*words, '--help'])\n"
        "    except SystemExit:\n"
        "        pass\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
