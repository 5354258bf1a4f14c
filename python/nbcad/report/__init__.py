"""Results out: report.json for programs, report.html for people."""

from nbcad.report.html import write_html
from nbcad.report.json_file import write_json

__all__ = ["write_html", "write_json"]
