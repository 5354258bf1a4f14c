"""Results out: report.json for programs, report.html for people."""

from nbcad.report.html import pictures_of, write_html
from nbcad.report.json_file import write_json

__all__ = ["pictures_of", "write_html", "write_json"]
