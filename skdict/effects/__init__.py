"""From concepts to findings: what a perturbation did, what is technical, what could be seen at all.

:func:`concept_effects` tests every perturbation against the controls of its plates,
:func:`technical_audit` asks what plate, position and cell count explain of each concept,
:func:`false_positive_rate` and :func:`detection_limit` try the whole way on one's own controls.
"""

from skdict.effects._dose_response import dose_response
from skdict.effects._result import ConceptEffects
from skdict.effects._screen import concept_effects

__all__ = ["ConceptEffects", "concept_effects", "dose_response"]
