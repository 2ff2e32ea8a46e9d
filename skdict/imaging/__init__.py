"""Concepts on images: heatmaps, stain channels, single cells, galleries.

Tokens are those of a vision transformer in their places, shape (n_images, n_rows, n_columns,
n_features), as :func:`skdict.extraction.collect_tokens` writes them; images are arrays or a
function ``get_image(i)``. Nothing here needs torch.
"""

from skdict.imaging._aligned import MostAligned, most_aligned_images, most_aligned_patches
from skdict.imaging._boundary import BoundaryProfile, boundary_distance, boundary_profile
from skdict.imaging._cell_masks import cell_table
from skdict.imaging._cell_test import CellClassTest, cell_class_test
from skdict.imaging._cells import CellAlignment, cell_alignment
from skdict.imaging._channel_screen import ChannelScreen, channel_screen
from skdict.imaging._channels import ChannelCorrelations, channel_correlations
from skdict.imaging._composite import channel_limits, composite
from skdict.imaging._crops import Crop, crop_table, iter_crop_batches, iter_crops
from skdict.imaging._edit import edit_tokens
from skdict.imaging._examples import ConceptExamples, concept_examples
from skdict.imaging._heatmaps import iter_token_heatmaps, token_heatmaps, upsample_heatmap
from skdict.imaging._readers import ImageFiles, image_info, read_image
from skdict.imaging._recall import CellRecall, call_bright_cells, cell_recall
from skdict.imaging._rings import RingTest, ring_contrast, ring_test
from skdict.imaging._segments import (
    SegmentHistograms,
    segment_alignment,
    segment_histograms,
    segment_images,
)
from skdict.imaging._stains import artefact_maps, pool_channels
from skdict.imaging._wells import aggregate_crops

__all__ = [
    "BoundaryProfile",
    "CellAlignment",
    "CellClassTest",
    "CellRecall",
    "ChannelCorrelations",
    "ChannelScreen",
    "ConceptExamples",
    "Crop",
    "ImageFiles",
    "MostAligned",
    "RingTest",
    "SegmentHistograms",
    "aggregate_crops",
    "artefact_maps",
    "boundary_distance",
    "boundary_profile",
    "call_bright_cells",
    "cell_alignment",
    "cell_class_test",
    "cell_recall",
    "cell_table",
    "channel_correlations",
    "channel_limits",
    "channel_screen",
    "composite",
    "concept_examples",
    "crop_table",
    "edit_tokens",
    "image_info",
    "iter_crop_batches",
    "iter_crops",
    "iter_token_heatmaps",
    "most_aligned_images",
    "most_aligned_patches",
    "pool_channels",
    "read_image",
    "ring_contrast",
    "ring_test",
    "segment_alignment",
    "segment_histograms",
    "segment_images",
    "token_heatmaps",
    "upsample_heatmap",
]
