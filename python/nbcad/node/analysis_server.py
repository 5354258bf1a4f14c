"""The process that analyses studies: `python -m nbcad.node.analysis_server LINE`, LINE being its end of a socket.

`analysis_client.Analyst` starts it and sends it JSON: the settings first, then one study after the other. Its stderr
goes to the log of the study at hand.
"""

import json
import os
import signal
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from nbcad.errors import NbcadError, OutputError
from nbcad.infer import Input, write_report
from nbcad.inference.models import Models, load_models
from nbcad.language.message import EMPTY, Message, message, to_text, verbatim
from nbcad.node.config import Analyse
from nbcad.report import DICOM
from nbcad.report.types import Report
from nbcad.runtime.memory import limit_memory, return_large_blocks


def serve(line: int) -> None:
    """Load the models, then analyse what comes down the line until its other end is closed."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # the other end decides
    warnings.simplefilter("ignore")
    return_large_blocks()
    with Connection(line) as connection:
        settings = Analyse(**json.loads(connection.recv_bytes()))
        try:
            stager = Path(settings.stage) if settings.stage else None
            models = load_models(Path(settings.models), settings.device, stager)
        except NbcadError as error:
            _answer(connection, error=to_text(error.message))
            return
        limit_memory(int(settings.memory_gib * 2**30), for_good=False)  # the decoder's process sets its own
        _answer(connection)
        while True:
            try:
                task = json.loads(connection.recv_bytes())
            except EOFError:
                return
            _log_to(Path(task["log"]))
            _answer(connection, **analyse_study(Path(task["images"]), Path(task["report"]), models, settings))


def _answer(connection: Connection, **facts: object) -> None:
    connection.send_bytes(json.dumps(facts).encode())


def _log_to(path: Path) -> None:
    """Have everything written to ``path``, also by C++."""
    with path.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def analyse_study(images: Path, report: Path, models: Models, settings: Analyse) -> dict[str, object]:
    """Return the answer about one study, as `analysis_client.Analyst.analyse` reads it."""
    try:
        found = write_report(Input(images), report, models, settings.lang)
    except OutputError as error:
        return {"no_space": to_text(error.message)}
    except MemoryError:
        reason = message("its analysis takes more than {size} GiB of memory", size=f"{settings.memory_gib:g}")
        return {"failed": to_text(reason)}
    except NbcadError as error:
        return {"failed": to_text(error.message)}
    except OSError as error:
        return {"failed": to_text(verbatim(str(error)))}
    reason = _why_nothing(found)
    labels = [study.stage.label for study in found.studies]
    return {
        "stage": labels[0] if len(labels) == 1 else None,
        "lesions": None if reason else found.summary.lesions,
        "results": [str(path) for path in sorted((report / DICOM).iterdir())],
        "reason": to_text(reason),
    }


def _why_nothing(report: Report) -> Message:
    """Return why nothing is said of any study, or an empty message if something is."""
    if any(study.suitability.answered for study in report.studies):
        return EMPTY
    series = [entry for study in report.studies for entry in study.series]
    if any(entry.status == "analysed" for entry in series):
        return message("the images are unsuited: {reason}", reason=report.studies[0].suitability.reasons[0])
    reasons = [entry.reason for entry in series] or [file.reason for file in report.files]
    return message("no series could be analysed: {reason}", reason=reasons[0])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
