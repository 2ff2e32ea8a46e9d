"""Plots of codes, dictionaries, probes and images, in scikit-learn's ``*Display`` convention.

A display stores numbers; ``plot`` draws them. The class methods (``from_estimator``,
``from_codes``, ...) compute the numbers first. Several curves come on one axes by handing on the
axes of the first: ``SelectivityDisplay(...).plot(ax=first.ax_)``. ``save`` writes the figure, the
numbers behind it and a paragraph for the methods section. Matplotlib is imported when something
is drawn (extra ``plot``); nothing global is changed and nothing is shown: that is the caller's
decision.
"""

from skdict.display._binarizer import BinarizerComparisonDisplay
from skdict.display._boundary import BoundaryProfileDisplay
from skdict.display._cell_outlines import CellOutlineDisplay
from skdict.display._cells import CellAlignmentDisplay
from skdict.display._channels import ChannelCorrelationDisplay, ChannelSummaryDisplay
from skdict.display._dead import DeadAtomsDisplay
from skdict.display._decoded import DecodedImagesDisplay
from skdict.display._directions import DirectionHistogramDisplay
from skdict.display._dose_curve import DoseCurveDisplay
from skdict.display._gallery import ConceptGalleryDisplay
from skdict.display._gene_attribution import GeneAttributionDisplay
from skdict.display._heatmaps import TokenHeatmapDisplay
from skdict.display._interpretable_share import InterpretableShareDisplay
from skdict.display._plate_map import PlateMapDisplay
from skdict.display._power_curve import PowerCurveDisplay
from skdict.display._probe import ProbeAccuracyDisplay
from skdict.display._segments import SegmentAlignmentDisplay
from skdict.display._selectivity import SelectivityDisplay
from skdict.display._selectivity_count import SelectivityCountDisplay
from skdict.display._similarity import SimilarityMapDisplay
from skdict.display._sparsity import SparsityReconstructionDisplay
from skdict.display._stability import StabilityDisplay
from skdict.display._subspaces import SubspaceProbeDisplay
from skdict.display._sweep import LearningRateDisplay, ProbeSparsityDisplay, SweepDisplay
from skdict.display._technical_audit import TechnicalAuditDisplay
from skdict.display._usage import AtomUsageDisplay
from skdict.display._volcano import VolcanoDisplay

__all__ = [
    "AtomUsageDisplay",
    "BinarizerComparisonDisplay",
    "BoundaryProfileDisplay",
    "CellAlignmentDisplay",
    "CellOutlineDisplay",
    "ChannelCorrelationDisplay",
    "ChannelSummaryDisplay",
    "ConceptGalleryDisplay",
    "DeadAtomsDisplay",
    "DecodedImagesDisplay",
    "DirectionHistogramDisplay",
    "DoseCurveDisplay",
    "GeneAttributionDisplay",
    "InterpretableShareDisplay",
    "LearningRateDisplay",
    "PlateMapDisplay",
    "PowerCurveDisplay",
    "ProbeAccuracyDisplay",
    "ProbeSparsityDisplay",
    "SegmentAlignmentDisplay",
    "SelectivityCountDisplay",
    "SelectivityDisplay",
    "SimilarityMapDisplay",
    "SparsityReconstructionDisplay",
    "StabilityDisplay",
    "SubspaceProbeDisplay",
    "SweepDisplay",
    "TechnicalAuditDisplay",
    "TokenHeatmapDisplay",
    "VolcanoDisplay",
]
