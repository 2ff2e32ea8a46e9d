"""Models that outlive the process: safetensors and JSON, read without executing code."""

from skdict.persistence._card import model_card
from skdict.persistence._errors import ModelFileError
from skdict.persistence._hub import push_to_hub
from skdict.persistence._load import load
from skdict.persistence._save import save
from skdict.persistence._trusted import SKOPS_TRUSTED

__all__ = ["SKOPS_TRUSTED", "ModelFileError", "load", "model_card", "push_to_hub", "save"]
