"""Results out: report.json for programs, report.html for people, DICOM objects for a PACS."""

from nbcad.report.dicom import DicomWriter
from nbcad.report.html import pictures_of, write_html
from nbcad.report.json_file import write_json
from nbcad.report.output import DICOM, HTML, JSON, report_folder

__all__ = ["DICOM", "HTML", "JSON", "DicomWriter", "pictures_of", "report_folder", "write_html", "write_json"]
