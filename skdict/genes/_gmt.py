"""Files of gene sets in GMT form: a set per line, its name, a description, its genes."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

# What old Enrichr libraries append to a gene: its weight.
_WEIGHT = re.compile(r",[-+]?\d+(\.\d*)?([eE][-+]?\d+)?$")

_GZIP = b"\x1f\x8b"


def read_gmt(path, *, return_descriptions: bool = False):
    """Read gene sets from a GMT file, as MSigDB, Enrichr, Reactome and others offer them.

    A line is the name of a set, a description and its genes, separated by tabs. The description
    may be empty, as in the libraries of Enrichr.

    Parameters
    ----------
    path : str or path-like
        The file, UTF-8, plain or compressed with gzip (whatever it is called). Nothing is ever
        downloaded.
    return_descriptions : bool, default=False
        Return the descriptions too.

    Returns
    -------
    gene_sets : dict of str to list of str
        Genes of each set in the order of the file, each once. Blank fields are left out, and so
        are weights after a comma (``TP53,1.0``). A set without genes is an empty list.
    descriptions : dict of str to str
        Descriptions, if `return_descriptions`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line has no tab or no name, a name is there twice, the text is not UTF-8, or the
        compressed file is cut off. The message holds the number of the line.

    See Also
    --------
    filter_gene_sets : Only genes that were measured, only sets of some size.
    write_gmt : The way back.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from skdict.genes import read_gmt, write_gmt
    >>> path = pathlib.Path(tempfile.mkdtemp(), "sets.gmt")
    >>> write_gmt(path, {"T cell": ["CD3D", "CD3E"], "B cell": ["CD79A", "MS4A1"]})
    >>> read_gmt(path)
    {'T cell': ['CD3D', 'CD3E'], 'B cell': ['CD79A', 'MS4A1']}
    """
    gene_sets: dict[str, list[str]] = {}
    descriptions, lines = {}, {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        name, description, genes = _fields(line, f"{path}, line {number}")
        if name in gene_sets:
            raise ValueError(
                f"{path}, line {number}: the set {name!r} is there already in line {lines[name]}; "
                "give each set a name of its own"
            )
        gene_sets[name], descriptions[name], lines[name] = genes, description, number
    if not gene_sets:
        raise ValueError(f"{path} holds no gene sets: it is empty")
    return (gene_sets, descriptions) if return_descriptions else gene_sets


def _lines(path):
    """Yield the number and text of each line of a plain or compressed file."""
    number = 0
    with open(path, "rb") as file:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        content = gzip.GzipFile(fileobj=file) if compressed else file
        try:
            for number, line in enumerate(content, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: the text is not UTF-8 ({error})") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path} is cut off or damaged after line {number} ({error}); fetch it again"
            ) from error


def _fields(line, place):
    """Name, description and genes of one line."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise ValueError(f"{place}: carriage returns alone end no line; save with line feeds")
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) < 2:
        raise ValueError(
            f"{place}: expected a name, a description and genes, separated by tabs, got "
            f"{line.strip()[:60]!r}"
        )
    name, description, *genes = fields
    if not name:
        raise ValueError(f"{place}: the set has no name (the line begins with a tab)")
    genes = [_WEIGHT.sub("", gene) for gene in genes]
    return name, description, list(dict.fromkeys(gene for gene in genes if gene))


def write_gmt(path, gene_sets, *, descriptions=None) -> None:
    """Write gene sets to a GMT file.

    Parameters
    ----------
    path : str or path-like
        The file; compressed with gzip if its name ends in ``.gz``. A file that is there stays
        whole until the new one is complete.
    gene_sets : dict of str to iterable of str
        Genes of each set.
    descriptions : dict of str to str, or None, default=None
        Descriptions; sets without one get an empty field.

    Raises
    ------
    ValueError
        If a name, description or gene holds a tab or the end of a line, a name or gene is empty,
        or a gene ends with a comma and a number.

    See Also
    --------
    read_gmt : Reads it again.
    """
    descriptions = descriptions or {}
    text = "".join(
        "\t".join([_field(name, name), _text(descriptions.get(name, ""), name)])
        + "".join(f"\t{_gene(gene, name)}" for gene in genes)
        + "\n"
        for name, genes in gene_sets.items()
    )
    path = Path(path)
    content = text.encode("utf-8")
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _field(value, name) -> str:
    """A name or gene that one field can hold."""
    if not isinstance(value, str) or not value or value != value.strip(" "):
        raise ValueError(
            f"gene_sets must hold names that are not empty, and have no blanks at their ends, got "
            f"{value!r} in {name!r}"
        )
    return _text(value, name)


def _gene(value, name) -> str:
    """A gene that is read as it was written."""
    if isinstance(value, str) and _WEIGHT.search(value):
        raise ValueError(f"a number after a comma is read as a weight: {value!r} in {name!r}")
    return _field(value, name)


def _text(value, name) -> str:
    """Text without what separates fields and lines."""
    if re.search(r"[\t\r\n]", value):
        raise ValueError(f"a tab or the end of a line cannot be written: {value!r} in {name!r}")
    return value
