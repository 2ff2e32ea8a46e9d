"""skdict: sparse concept dictionaries of foundation-model embeddings, scikit-learn style."""

from skdict._checkpoints import Checkpoint
from skdict._code_store import StoredCodes, load_codes
from skdict._code_writer import CodeWriter
from skdict._coding import sparse_encode
from skdict._icfl import ICFLDictionary
from skdict._sharded_rows import ShardedRows
from skdict._streaming import TransformedRows, transform_to_disk
from skdict._topk_sae import TopKSAE
from skdict._version import __version__ as __version__
from skdict._whitening import ControlPCAWhitener
from skdict.persistence import load, save

__all__ = [
    "Checkpoint",
    "CodeWriter",
    "ControlPCAWhitener",
    "ICFLDictionary",
    "ShardedRows",
    "StoredCodes",
    "TopKSAE",
    "TransformedRows",
    "load",
    "load_codes",
    "save",
    "sparse_encode",
    "transform_to_disk",
]
