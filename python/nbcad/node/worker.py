"""Studies that are complete are analysed, one after the other."""

import shutil
from pathlib import Path

from nbcad.errors import ModelError, OutputError
from nbcad.language.message import EMPTY
from nbcad.node import log, metrics
from nbcad.node.analysis_client import AnalysisFailed, Analyst, Stopped
from nbcad.node.jobs import Jobs, sync
from nbcad.node.part import AFTER_ERROR_S, Loop
from nbcad.node.study import Study

REPORT = "report-{number}"


class Worker(Loop):
    """Sees which studies are complete, and has them analysed."""

    def __init__(self, jobs: Jobs, analyst: Analyst, quiet_s: float, sends: bool):
        """
        Args:
            jobs: the queue.
            analyst: of a process that is ready.
            quiet_s: how long nothing of a study may have come before it is complete.
            sends: whether results are to be sent.
        """
        super().__init__()
        self._jobs, self._analyst, self._quiet_s, self._sends = jobs, analyst, quiet_s, sends

    def step(self) -> bool:
        """Analyse the study that waits longest."""
        for job in self._jobs.settle(self._quiet_s):
            study = self._jobs.study(job)
            if study:
                log.info("study complete", job=job, sender=study.sender, objects=study.objects, reason=study.reason)
        study = self._jobs.take()
        if study is None:
            return False
        log.info("analysis begins", job=study.job, number=study.analyses)
        try:
            self._analyse(study)
        except Stopped:
            self._jobs.put_back(study, EMPTY)
        except AnalysisFailed as error:
            if self._jobs.set_aside(study, error.message):
                log.warn("study set aside", job=study.job, reason="its analysis failed")
        except (ModelError, OutputError) as error:  # not the study's fault
            self._jobs.put_back(study, error.message)
            log.warn("analysis put off", job=study.job, reason=str(error))
            self.stopping.wait(AFTER_ERROR_S)
        return True

    def _analyse(self, study: Study) -> None:
        """Have a study analysed and record what was found.

        Raises:
            AnalysisFailed, ModelError, OutputError, Stopped: see `Analyst.analyse`.
        """
        report = study.folder / REPORT.format(number=study.analyses)
        with metrics.ANALYSIS_SECONDS.time():
            found = self._analyst.analyse(study, report, self.stopping.is_set)
        for path in found.results:
            sync(path)
        results = found.results if self._sends else []
        if not self._jobs.analysed(study, report, found.stage, found.lesions, results, found.reason):
            log.info("objects came during the analysis, which is done anew", job=study.job)
            shutil.rmtree(report, ignore_errors=True)
            return
        log.info("analysed", job=study.job, results=len(found.results), analysed_series=not found.reason)
        _remove_others(study.folder, report)


def _remove_others(folder: Path, report: Path) -> None:
    """Remove the reports of former analyses."""
    for path in folder.glob(REPORT.format(number="*")):
        if path != report:
            shutil.rmtree(path, ignore_errors=True)
