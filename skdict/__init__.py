"""skdict: sparse concept dictionaries of foundation-model embeddings, scikit-learn style."""

from skdict._checkpoints import Checkpoint
from skdict._coding import sparse_encode
from skdict._icfl import ICFLDictionary
from skdict._topk_sae import TopKSAE
from skdict._whitening import ControlPCAWhitener

__all__ = ["Checkpoint", "ControlPCAWhitener", "ICFLDictionary", "TopKSAE", "sparse_encode"]

__version__ = "0.1.0.dev0"
