"""A node's queue with studies in any state, for tests of what is shown of them."""

import hashlib
from pathlib import Path

import numpy as np

from make_analysis import analysis, lesion, pages_of, patient_of
from make_dicom import mr_image, write
from nbcad.node.jobs import Jobs
from nbcad.node.study import Received, Study

_PIXELS = np.random.default_rng(0).integers(0, 900, (8, 8))


def receive(jobs: Jobs, study_uid: str, sender="SCANNER", **elements) -> int:
    """Take one image of a study into the queue, as the storage SCP does; its job."""
    image = mr_image(
        _PIXELS, StudyInstanceUID=study_uid, StudyDate="20260102", StudyDescription="MR abdomen", **elements
    )
    path = write(image, jobs.incoming / "object")
    sha256 = hashlib.sha256(path.read_bytes()).digest()
    return jobs.add(Received(path, study_uid, image.SOPInstanceUID, sha256, sender))[0]


def take(jobs: Jobs) -> Study:
    """The study that waits longest, being analysed."""
    jobs.settle(0)
    return jobs.take()


def report(study: Study, **options) -> Path:
    """The folder of a study's report; of a page with one lesion."""
    folder = study.folder / f"report-{study.analyses}"
    return pages_of(folder, patient_of(analysis([lesion({1: (2, 2, 6, 6)})])), **options).parent
