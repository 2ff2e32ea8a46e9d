"""Tokens of a torch model's layers as arrays on disk, and back into images (extra ``torch``)."""

from skdict._token_layout import TokenLayout
from skdict.extraction._collect import collect_tokens
from skdict.extraction._decode import decode_tokens, mae_decoder
from skdict.extraction._layers import layer_name, list_layers
from skdict.extraction._token_array import TokenArray, open_tokens

__all__ = [
    "TokenArray",
    "TokenLayout",
    "collect_tokens",
    "decode_tokens",
    "layer_name",
    "list_layers",
    "mae_decoder",
    "open_tokens",
]
