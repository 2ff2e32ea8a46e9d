"""The explorer: a folder with all that is known of the concepts, and what looks into it."""

from skdict.explorer._agreement import cohen_kappa, fleiss_kappa
from skdict.explorer._app import explore
from skdict.explorer._blinded import BlindedStudy, StudyItem, make_blinded_study, open_blinded_study
from skdict.explorer._blinded_answers import StudyAnswer, StudySession
from skdict.explorer._blinded_results import StudyResults, study_results
from skdict.explorer._build import build_bundle
from skdict.explorer._bundle import Bundle, open_bundle
from skdict.explorer._bundle_paths import BundleError
from skdict.explorer._notes import NotesStore
from skdict.explorer._notes_bundle import bundle_fingerprint
from skdict.explorer._notes_fields import Note
from skdict.explorer._notes_tables import annotate, report_table
from skdict.explorer._search import (
    find_by_gene,
    find_by_label,
    find_by_pathway,
    search_concepts,
)
from skdict.explorer._serve import serve
from skdict.explorer._static import write_static_html

__all__ = [
    "BlindedStudy",
    "Bundle",
    "BundleError",
    "Note",
    "NotesStore",
    "StudyAnswer",
    "StudyItem",
    "StudyResults",
    "StudySession",
    "annotate",
    "build_bundle",
    "bundle_fingerprint",
    "cohen_kappa",
    "explore",
    "find_by_gene",
    "find_by_label",
    "find_by_pathway",
    "fleiss_kappa",
    "make_blinded_study",
    "open_blinded_study",
    "open_bundle",
    "report_table",
    "search_concepts",
    "serve",
    "study_results",
    "write_static_html",
]
