"""Many processes and machines: functions on Dask arrays. Estimators do not know Dask."""

from skdict.parallel._dask import dask_transform
from skdict.parallel._dask_score import dask_score
from skdict.parallel._dask_store import save_codes
from skdict.parallel._dask_whitening import dask_fit_whitener

__all__ = ["dask_fit_whitener", "dask_score", "dask_transform", "save_codes"]
