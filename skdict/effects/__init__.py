"""From concepts to findings: what a perturbation did, what is technical, what could be seen at all.

:func:`concept_effects` tests every perturbation against the controls of its plates,
:func:`technical_audit` asks what plate, position and cell count explain of each concept,
:func:`neighbour_effects` what the wells around a perturbation show, and
:func:`false_positive_rate` and :func:`detection_limit` try the whole way on one's own controls.
"""

from skdict.effects._audit import TechnicalAudit, technical_audit
from skdict.effects._detection_limit import DetectionLimit, detection_limit
from skdict.effects._dose_response import dose_response
from skdict.effects._findings import findings
from skdict.effects._neighbours import neighbour_effects
from skdict.effects._pseudo_compounds import FalsePositives, false_positive_rate, pseudo_compounds
from skdict.effects._result import ConceptEffects, DoseTrend
from skdict.effects._screen import concept_effects
from skdict.effects._well_position import well_position
from skdict.metrics import explain_difference

__all__ = [
    "ConceptEffects",
    "DetectionLimit",
    "DoseTrend",
    "FalsePositives",
    "TechnicalAudit",
    "concept_effects",
    "detection_limit",
    "dose_response",
    "explain_difference",
    "false_positive_rate",
    "findings",
    "neighbour_effects",
    "pseudo_compounds",
    "technical_audit",
    "well_position",
]
