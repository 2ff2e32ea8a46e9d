"""skdict: sparse concept dictionaries of foundation-model embeddings, scikit-learn style."""

from skdict._checkpoints import Checkpoint
from skdict._code_store import StoredCodes, load_codes
from skdict._code_writer import CodeWriter
from skdict._coding import sparse_encode
from skdict._icfl import ICFLDictionary
from skdict._sharded_rows import ShardedRows
from skdict._streaming import TransformedRows, transform_to_disk
from skdict._topk_sae import TopKSAE
from skdict._whitening import ControlPCAWhitener

__all__ = [
    "Checkpoint",
    "CodeWriter",
    "ControlPCAWhitener",
    "ICFLDictionary",
    "ShardedRows",
    "StoredCodes",
    "TopKSAE",
    "TransformedRows",
    "load_codes",
    "sparse_encode",
    "transform_to_disk",
]

__version__ = "0.1.0.dev0"
