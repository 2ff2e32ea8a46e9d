"""What comparisons with dictionaries need: codes from dense features, batches on common ground."""

from skdict.preprocessing._alignment import align_batches
from skdict.preprocessing._largest import LargestValuesSelector
from skdict.preprocessing._quantile import QuantileBinarizer

__all__ = ["LargestValuesSelector", "QuantileBinarizer", "align_batches"]
