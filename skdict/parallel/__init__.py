"""Many processes and machines: fits under ``torchrun``, functions on Dask arrays.

Estimators know neither.
"""

from skdict.parallel._dask import dask_transform
from skdict.parallel._dask_score import dask_score
from skdict.parallel._dask_store import save_codes
from skdict.parallel._dask_whitening import dask_fit_whitener
from skdict.parallel._data_parallel import data_parallel

__all__ = ["dask_fit_whitener", "dask_score", "dask_transform", "data_parallel", "save_codes"]
