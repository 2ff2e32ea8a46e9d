"""ICFL as a class of SAELens. Importing this module imports SAELens and torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skdict._validation import import_optional
from skdict.kernels import get_kernels

torch = import_optional("torch", extra="saelens")
sae_lens = import_optional("sae_lens", extra="saelens")
_SAE: Any = sae_lens.SAE
_SAEConfig: Any = sae_lens.SAEConfig

ARCHITECTURE = "icfl"


@dataclass
class ICFLSAEConfig(_SAEConfig):
    """Settings of an `ICFLSAE`; the parameters are those of ICFLDictionary.

    Attributes
    ----------
    n_nonzero_coefs : int
        Most non-zeros in a code.
    atoms_per_step : int
        Atoms chosen at each step of the pursuit.
    selection : str
        Whether the largest "signed" or "absolute" inner products are chosen.
    refit : bool
        Whether all chosen atoms are refitted at the end.
    """

    n_nonzero_coefs: int = 100
    atoms_per_step: int = 5
    selection: str = "signed"
    refit: bool = False

    @classmethod
    def architecture(cls) -> str:
        """Name of the architecture."""
        return ARCHITECTURE


class ICFLSAE(_SAE):
    """Dictionary whose codes come from batched orthogonal matching pursuit, for inference.

    No gradient flows through the codes; reconstructions have one.

    Parameters
    ----------
    cfg : ICFLSAEConfig
        Sizes and settings.
    use_error_term : bool, default=False
        As in SAELens.
    """

    @property
    def W_enc(self):
        """The atoms as columns: there is no encoder."""
        return self.W_dec.T

    def __setattr__(self, name, value):
        if name != "W_enc":  # the base class sets one
            super().__setattr__(name, value)

    def encode(self, x):
        """Codes of activations (..., d_in), dense: (..., d_sae)."""
        rows = self.process_sae_in(x)
        with torch.no_grad():
            codes = self._pursue(rows.reshape(-1, rows.shape[-1]))
        return self.hook_sae_acts_post(
            codes.to(rows.dtype).reshape(*rows.shape[:-1], codes.shape[1])
        )

    def decode(self, feature_acts):
        """Reconstructions of codes (..., d_sae)."""
        decoded = feature_acts @ self.W_dec
        if self.cfg.apply_b_dec_to_input:  # as SAELens's matching pursuit has it
            decoded = decoded + self.b_dec
        decoded = self.hook_sae_recons(decoded)
        return self.reshape_fn_out(self.run_time_activation_norm_fn_out(decoded), self.d_head)

    def _pursue(self, rows):
        """Dense codes of centred rows, as ICFLDictionary has them."""
        dtype = torch.promote_types(rows.dtype, torch.float32)
        rows, atoms = rows.to(dtype), self.W_dec.detach().to(dtype)
        codes = rows.new_zeros(rows.shape[0], atoms.shape[0])
        alive = (atoms.square().sum(dim=1) > 0).nonzero()[:, 0]  # zero atoms are never chosen
        if rows.shape[0] == 0 or alive.numel() == 0:
            return codes
        kernels = get_kernels("torch:cpu")  # on the device of the rows, whichever it is
        with kernels.precision("exact"):
            values, chosen, _ = kernels.encode_icfl(
                rows,
                atoms[alive],
                None,
                rows.new_zeros(rows.shape[1]),
                n_nonzero_coefs=min(self.cfg.n_nonzero_coefs, alive.numel()),
                atoms_per_step=self.cfg.atoms_per_step,
                absolute=self.cfg.selection == "absolute",
                refit=self.cfg.refit,
            )
        # Unused entries are atom 0 with value 0: adding them changes nothing.
        return codes.scatter_add_(1, alive[chosen.long()], values)

    def fold_W_dec_norm(self):
        """Refused: the lengths of the atoms belong to the pursuit."""
        raise NotImplementedError("the lengths of the atoms cannot be folded: codes would change")

    def fold_activation_whitening(self, mean, whitening_matrix, unwhitening_matrix):
        """Refused: there is no encoder of its own to fold into."""
        raise NotImplementedError("whitening cannot be folded into pursuit")


def register() -> None:
    """Tell SAELens of the class, unless it knows it."""
    known = import_optional("sae_lens.registry", extra="saelens").SAE_CLASS_REGISTRY
    if ARCHITECTURE not in known:
        sae_lens.register_sae_class(ARCHITECTURE, ICFLSAE, ICFLSAEConfig)
    elif known[ARCHITECTURE][0] is not ICFLSAE:
        raise ValueError(
            f"architecture {ARCHITECTURE!r} is taken in SAELens by {known[ARCHITECTURE][0]}"
        )
