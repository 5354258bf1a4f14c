"""The node's settings: defaults, options before the file, errors that name their key."""

import dataclasses

import pytest

from nbcad.errors import InputError
from nbcad.node.config import Analyse, Config, Pages, Receive, Send, Tls, read_config
from nbcad.runtime.paths import NODE_CONFIG
from repository import run_tool


def test_example_has_every_key_with_its_default(tmp_path):
    text = NODE_CONFIG.read_text()
    path = tmp_path / "node.toml"
    path.write_text(text.replace("senders = []", 'senders = ["A"]'))
    assert read_config(path) == dataclasses.replace(Config(), receive=Receive(senders=("A",)))
    written = [line.partition(" = ")[0] for line in text.splitlines() if " = " in line and not line.startswith("#")]
    tables = (Receive, Tls, Analyse, Send, Pages)
    known = [f.name for kind in tables for f in dataclasses.fields(kind)] + ["folder", "keep_days"]
    assert sorted(written) == sorted(known)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour = 1", "key 'colour' is not known"),
        ("[receive]\nprot = 1", r"\[receive\]: key 'prot' is not known"),
        ('[receive]\nport = "104"', "key 'port' is '104', not a whole number"),
        ("[receive]\nport = true", "not a whole number"),
        ("[receive]\nport = 70000", "not from 0 to 65535"),
        ("[receive]\nsenders = [1]", "not a list of texts"),
        ('[receive]\nsenders = ["SEVENTEEN-LETTERS"]', "SEVENTEEN-LETTERS"),
        ('[receive]\nae_title = "A\\\\B"', "none of its kind"),
        ("[receive]\nsenders = []", "'senders' of .receive. is empty"),
        ("receive = 1", "not a table"),
        ('[analyse]\ndevice = "gpu"', "'gpu' is none of its kind"),
        ('[tls]\ncertificate = "x"', "both a certificate and its key"),
        ("[send]\ntls = true", "needs ca"),
        ("[send]\ntls = 1", "not true or false"),
        ("[receive", "no TOML"),
    ],
)
def test_settings_that_are_wrong_are_refused_by_the_name_of_their_key(tmp_path, text, told):
    path = tmp_path / "node.toml"
    path.write_text(text)
    given = {} if "senders" in text else {"receive": {"senders": ["A"]}}
    with pytest.raises(InputError, match=told):
        read_config(path, given)


def test_options_go_before_the_file(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('folder = "a"\n[receive]\nport = 1\nquiet_s = 5')
    config = read_config(path, {"folder": "b", "receive": {"port": 2, "senders": ["A"]}})
    assert (config.folder, config.receive.port, config.receive.quiet_s) == ("b", 2, 5.0)


def test_serve_refuses_wrong_use_in_one_line(tmp_path):
    for arguments, told in (
        (["--config", tmp_path / "none"], "cannot be read"),
        ([], "senders"),
        (["--sender", "A", "--folder", tmp_path / "node", "--models", tmp_path], "model file"),
    ):
        done = run_tool("serve", *arguments)
        assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1
    assert run_tool("serve", "--destination", "nowhere").returncode == 2
