"""Results out: each study's objects go to the archive by C-STORE, each until the archive has it."""

import ssl
import time

from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from nbcad.language.message import EMPTY, Message, message
from nbcad.node import log
from nbcad.node.config import Send, Tls
from nbcad.node.jobs import Jobs
from nbcad.node.part import Loop
from nbcad.node.study import Result, Study
from nbcad.node.tls import load_certificates

_TAKEN = (0x0000, 0xB000, 0xB006, 0xB007)  # success, and warnings of an object that was stored (PS3.4 B.2.3)
_TIMEOUT_S = 60.0
_LONGEST_WAIT_S = 3600.0
_CONTEXTS = [build_context(sop_class) for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)]


class Sender(Loop):
    """Sends what is to be sent."""

    def __init__(self, settings: Send, tls: Tls, ae_title: str, jobs: Jobs):
        """
        Args:
            settings: of the archive.
            tls: certificates.
            ae_title: of the node.
            jobs: the queue.

        Raises:
            InputError: the certificates cannot be used.
        """
        super().__init__()
        self._settings, self._jobs = settings, jobs
        self._tls: tuple[ssl.SSLContext, str] | None = None
        if settings.tls:
            context = ssl.create_default_context()
            load_certificates(context, tls)
            self._tls = context, settings.host
        self._ae = AE(ae_title)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = _TIMEOUT_S
        self._ae.connection_timeout = _TIMEOUT_S

    def step(self) -> bool:
        """Send one study's results."""
        study = self._jobs.to_send()
        if study is None:
            return False
        reason = self._deliver(study)
        if not reason:
            self._jobs.all_delivered(study)
            log.info("results delivered", job=study.job, results=study.results)
        elif self.stopping.is_set():
            pass
        elif time.time() - study.since > self._settings.give_up_h * 3600:
            self._jobs.set_aside(study, message("its results could not be delivered: {reason}", reason=reason))
            log.warn("study set aside", job=study.job, reason=reason)
        else:
            wait_s = min(self._settings.retry_s * 2**study.send_attempts, _LONGEST_WAIT_S)
            self._jobs.not_delivered(study, reason, wait_s)
            log.warn("results not delivered", job=study.job, reason=reason, again_in_s=wait_s)
        return True

    def _deliver(self, study: Study) -> Message:
        """Send what was not delivered yet; returns why not all of it was, or nothing."""
        settings = self._settings
        association = self._ae.associate(settings.host, settings.port, _CONTEXTS, settings.ae_title, tls_args=self._tls)
        if not association.is_established:
            archive = f"{settings.ae_title}@{settings.host}:{settings.port}"
            if association.is_rejected:
                return message("{archive} refuses the association", archive=archive)
            return message("{archive} cannot be reached", archive=archive)
        reason = EMPTY
        try:
            for result in self._jobs.unsent(study):
                if self.stopping.is_set() or not association.is_established:
                    reason = reason or message("the association ended")
                    break
                if refusal := _send(association, result):
                    reason = refusal
                else:
                    self._jobs.delivered(result)
        finally:  # else a full disk here would hold an association of the archive until it times out
            if association.is_established:
                association.release()
        return reason


def _send(association: Association, result: Result) -> Message:
    """Send one object; returns why it was not taken, or nothing."""
    try:
        answer = association.send_c_store(result.path)
    except (OSError, ValueError, RuntimeError) as error:  # gone; no presentation context; no association
        return message("an object cannot be sent: {error}", error=str(error))
    if "Status" not in answer:
        return message("the archive does not answer")
    if answer.Status in _TAKEN:
        return EMPTY
    return message("the archive answers {status}", status=f"{answer.Status:04X}")
