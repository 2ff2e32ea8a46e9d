"""Why names of genes do not match: species, versions, another kind of identifier."""

from __future__ import annotations


def name_hint(others, genes, what: str) -> str:
    """What may be the matter with names of which none match.

    Parameters
    ----------
    others : iterable of str
        Names that were looked for.
    genes : iterable of str
        Names of the genes of the data.
    what : str
        What holds the others, in the plural.

    Returns
    -------
    str
        A sentence for the end of a message.
    """
    genes, others = [str(gene) for gene in genes], set(others)
    bare = sum(gene.split(".")[0] in others for gene in genes)
    if bare:
        return f"without what follows the dot (the version) {bare} would match"
    upper = {gene.upper() for gene in others}
    shouted = sum(gene.upper() in upper for gene in genes)
    if shouted:
        return (
            f"in upper case {shouted} would match: names of another species? (human genes are "
            "written CD3E, mouse genes Cd3e; translate them by their orthologues)"
        )
    kinds = [_kind(names) for names in (others, genes)]
    if kinds[0] != kinds[1]:
        return f"the {what} look like {kinds[0]}, the data like {kinds[1]}: translate one of them"
    return "names must be written alike in both"


def _kind(names) -> str:
    """What most of some names look like."""
    names = list(names)
    if sum(name.startswith("ENS") and name[-1:].isdigit() for name in names) * 2 > len(names):
        return "Ensembl ids"
    if sum(name.isdigit() for name in names) * 2 > len(names):
        return "numbers (Entrez ids, or positions instead of names)"
    return "symbols"
