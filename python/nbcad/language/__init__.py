"""The languages of pages and reports."""

LANGUAGES = ("en", "zh")  # of the report's pages; the first is that of the sources
