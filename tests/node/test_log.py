import json
import logging
import threading

from nbcad.node import log


def test_defect_in_the_log_tells_where_it_was_but_not_what_it_says(capsys, monkeypatch):
    for name in ("nbcad.node", "pydicom", "pynetdicom", "waitress"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr("pynetdicom._config.LOG_HANDLER_LEVEL", "standard")
    log.start()
    log.info("study complete", job=3, objects=40)
    try:
        raise ValueError("SECRET^NAME")
    except ValueError as error:
        log.defect(type(error), error.__traceback__)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("study complete", "info"), ("defect", "error")]
    assert lines[0]["job"] == 3 and "test_log.py" in lines[1]["traceback"][0] and "SECRET" not in json.dumps(lines)
