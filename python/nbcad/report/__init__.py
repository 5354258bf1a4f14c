"""Results out: report.json for programs, report.html for people."""

from nbcad.report.html import Pages
from nbcad.report.json_file import write_json
from nbcad.report.language import Language

__all__ = ["Language", "Pages", "write_json"]
