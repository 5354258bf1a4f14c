"""Results out: report.json for programs, report.html for people, DICOM objects for a PACS."""

from nbcad.language.catalogue import Language
from nbcad.report.dicom import DicomWriter
from nbcad.report.html import Pages
from nbcad.report.output import DICOM, HTML, JSON, check_out, report_folder

__all__ = [
    "DICOM", "HTML", "JSON", "DicomWriter", "Language", "Pages", "check_out", "report_folder",
]  # fmt: skip
