"""Parts of a page in reStructuredText."""


def table(header, rows, *, widths=None):
    """Return a list-table directive.

    Parameters
    ----------
    header : sequence of str
        Head of each column.
    rows : iterable of sequence of str
        Cells.
    widths : sequence of int or None, default=None
        Relative widths of the columns.
    """
    lines = [".. list-table::", "   :header-rows: 1"]
    if widths is not None:
        lines.append("   :widths: " + " ".join(map(str, widths)))
    lines.append("")
    for row in [header, *rows]:
        for k, cell in enumerate(row):
            lines.append(f"   {'* -' if k == 0 else '  -'} {cell}".rstrip())
    return "\n".join(lines) + "\n"


def heading(title):
    """Return a section title."""
    return f"{title}\n{'=' * len(title)}\n"


def number(value, digits=3):
    """Show a number with so many significant digits and thousands separated."""
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.1e}"
