"""report.html: pages that need no other file, for a doctor to check the result against the images."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.measure import Diameters, Point
from nbcad.inference.suitability import trained_on
from nbcad.language.catalogue import Language
from nbcad.language.message import Message
from nbcad.report.output import HTML, PATIENTS
from nbcad.report.patient import PatientAnalysis
from nbcad.report.pictures import data_uri, evidence, evidence_slices
from nbcad.report.types import FileEntry, Report, SeriesEntry, Software
from nbcad.report.viewer import viewer_data, viewer_pictures
from nbcad.runtime.files import replacing_file

BYTES_OF_VIEWS = 54_000_000  # of a page's series at most; with its texts and tables a page then keeps to 60 MB
TEMPLATES = resources.files("nbcad.report") / "templates"
Content = dict[str, Any]  # a template's variables by name


@dataclass(frozen=True)
class Picture:
    """One slice among the evidence; both pictures as data: URIs."""

    caption: str
    plain: str
    marked: str


@dataclass(frozen=True)
class View:
    """All that a page shows of one analysed series beside its entry in the report."""

    number: int  # from 0 on the page; series that were not analysed are counted
    data: dict[str, Any]  # of `viewer_data`
    pictures: list[str]  # of `viewer_pictures`; none where the page has no room for them
    quality: int  # of these
    shown: list[Picture]  # none where the page has no room for them either
    without: int  # lesions that have no picture

    @property
    def size(self) -> int:
        """Return the bytes that it takes of the page."""
        evidence = sum(len(picture.plain) + len(picture.marked) for picture in self.shown)
        return sum(map(len, self.pictures)) + (len(json.dumps(self.data)) if self.pictures else 0) + evidence


class Pages:
    """Writes the pages of an analysis, a patient at a time.

    One patient's page is report.html. Several patients have patients/0001.html and so on, by their numbers in the
    report and never by a name, and report.html leads to them. The one patient's page is kept until the end, when the
    fate of all files is known; those of several list their own.
    """

    def __init__(self, folder: Path, language: Language, software: Software):
        """Args: folder of report.html; language of the pages; software of the report."""
        self.folder, self.language, self.software = folder, language, software
        self._templates = _environment(language)
        self.shown: list[Content] = []  # what `write` returned of each patient, in order

    def add(self, patient: PatientAnalysis) -> None:
        """Write the page of one patient, or keep what it shows; the patient's images are not kept."""
        self.shown.append(self.write(patient))

    def write(self, patient: PatientAnalysis) -> Content:
        """Write the page of one of several patients; return what report.html is to show of the patient."""
        views = _views(patient, self.language)
        content: Content = {
            "number": patient.number,
            "patients": patient.patients,
            "studies": patient.studies,
            "views": views,
        }
        if patient.patients == 1:
            return content
        page = f"{PATIENTS}/{patient.number:04d}.html"
        self._write(
            page, "patient.html.j2", content | {"summary": patient.summary, "files": patient.files, "origin": ""}
        )
        return {"number": patient.number, "page": page, "studies": patient.studies}

    def close(self, report: Report) -> None:
        """Write report.html after all patients were added."""
        content: Content = {"summary": report.summary, "files": report.files, "origin": report.origin}
        if len(self.shown) == 1:
            self._write(HTML, "patient.html.j2", self.shown[0] | content)
        else:
            self._write(HTML, "index.html.j2", {"patients": self.shown} | content)

    def _write(self, name: str, template: str, content: Content) -> None:
        page = self._templates.get_template(template).generate(
            content,
            software=self.software,
            trained_on=trained_on(self.software.trained_on),
            not_used=_by_reason(content["files"]),
            qualities=sorted({v.quality for study in content.get("views", []) for v in study if v and v.pictures}),
        )
        with (
            replacing_file(self.folder / name) as temporary,
            # A file name on disk need not be text: Python stands surrogates for such bytes, which UTF-8 cannot hold.
            temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.writelines(page)  # piece by piece: whole it would be in memory several times


def percent(probability: float) -> str:
    """Whole per cent; nothing is written as certain, and as impossible only what a rule excludes."""
    if 0 < probability < 0.01:
        return "<1 %"
    if probability > 0.99:
        return ">99 %"
    return f"{100 * probability:.0f} %"


def place(point: Point) -> str:
    """Return a place in the patient, in whole mm with the letters of the viewer: R or L, A or P, I or S."""
    whole = map(round, point)
    return ", ".join(f"{pair[value >= 0]} {abs(value)}" for pair, value in zip(("RL", "AP", "IS"), whole, strict=True))


def diameters(measured: Diameters) -> str:
    """Return the known diameters in whole mm: the long axis, the short one, the craniocaudal one."""
    known = (measured.long_axis, measured.short_axis, measured.craniocaudal)
    return " × ".join(str(round(value)) for value in known if value is not None)


@lru_cache(maxsize=1)
def _environment(language: Language) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nbcad.report"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # which the extension i18n adds
        language.gettext, language.ngettext, newstyle=True
    )
    environment.filters.update(
        percent=percent,
        place=place,
        diameters=diameters,
        millilitres=lambda volume: "" if volume is None else f"{volume / 1000:.1f}",
        csp=_csp_source,
        label=language.label,
        rendered=language.render,
    )
    banner = language.gettext("Research use only. Not for clinical diagnosis.")
    # On paper the banner stands once at the top: this is for every sheet.
    every_sheet = f"@page {{ @bottom-center {{ content: {json.dumps(banner, ensure_ascii=False)}; }} }}\n"
    environment.globals |= {
        "html_language": language.tag,
        "banner": banner,
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8") + every_sheet),
        "script": Markup((TEMPLATES / "viewer.js").read_text(encoding="utf-8")),
        "viewer_texts": _viewer_texts(language),
    }
    return environment


def _csp_source(text: str) -> Markup:
    """Return the hash of a style or script for the page's policy, which allows no other."""
    return Markup("sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def _viewer_texts(language: Language) -> dict[str, str]:
    """Return the texts of viewer.js, which fills in their {values}."""
    _ = language.gettext
    return {
        "slice": _("Slice {number} of {count}"),
        "tumour": _("highest tumour probability {probability}"),
        "lesions": _("lesion {numbers}"),
        "no_lesion": _("no lesion on this slice"),
        "unsuited": _("unsuited: no finding"),
        "no_position": _("the series has no position"),
        "window": _("window width {width}, centre {centre}"),
        "value": _("grey value {value}"),
        "tumour_here": _("tumour {probability}"),
    }


def _by_reason(files: Iterable[FileEntry]) -> dict[tuple[str, Message], list[str]]:
    """Group the files that were not fully used by status and reason, the refused ones first."""
    groups: dict[tuple[str, Message], list[str]] = {}
    for file in sorted(files, key=lambda file: file.status != "refused"):
        if file.reason:
            groups.setdefault((file.status, file.reason), []).append(file.path)
    return groups


def _views(patient: PatientAnalysis, language: Language) -> list[list[View | None]]:
    """Return the view of each series of each study; None for those not analysed."""
    analysed = [(number, entry, analysis) for number, (_, entry, analysis) in enumerate(patient.series()) if analysis]
    analysed.sort(key=lambda one: -max((lesion.probability for lesion in one[2].lesions), default=0.0))
    views, room = {}, BYTES_OF_VIEWS
    for number, entry, analysis in analysed:  # those with the most probable lesions have the room first
        views[number] = _at_most(_view(number, analysis, entry, language), room)
        room -= views[number].size
    numbers = iter(range(sum(map(len, patient.analyses))))
    return [[views.get(next(numbers)) for _ in analyses] for analyses in patient.analyses]


def _at_most(view: View, room: int) -> View:
    """Return a view that takes at most so many bytes: as it is, without its slices, or without any picture."""
    if view.size > room:
        view = replace(view, pictures=[])
    return view if view.size <= room else replace(view, shown=[], without=0)


def _view(number: int, analysis: SeriesAnalysis, entry: SeriesEntry, language: Language) -> View:
    data = viewer_data(analysis, entry)
    data["regions"] = [language.label(region) for region in data["regions"]]
    pictures, quality = viewer_pictures(analysis)
    slices = evidence_slices(analysis)
    return View(
        number=number,
        data=data,
        pictures=pictures,
        quality=quality,
        shown=_evidence_of(slices, analysis, language),
        without=len(analysis.lesions) - sum(map(len, slices.values())),
    )


def _evidence_of(slices: dict[int, list[int]], analysis: SeriesAnalysis, language: Language) -> list[Picture]:
    """Return the pictures of the slices that `evidence_slices` names."""
    _ = language.gettext
    if analysis.lesions:
        text = _("Lesion {numbers}: slice {number} of {count}")
    else:
        text = _("No lesion; highest tumour probability: slice {number} of {count}")
    return [_picture(analysis, index, text, ", ".join(map(str, numbers))) for index, numbers in slices.items()]


def _picture(analysis: SeriesAnalysis, index: int, caption: str, numbers: str) -> Picture:
    return Picture(
        caption=caption.format(numbers=numbers, number=index + 1, count=len(analysis.slices)),
        plain=data_uri(evidence(analysis, index, overlay=False)[..., 0]),  # grey: a third of the size
        marked=data_uri(evidence(analysis, index)),
    )
