"""One legend for all panels of a figure."""

from __future__ import annotations

from skdict.display._style import CURVE, GREY

SHARED = "skdict-shared-legend"
# Inches that a handle and a letter of the small font take, on the large side.
HANDLE, LETTER = 0.75, 0.075


def draw_shared_legend(figure) -> None:
    """Replace the legends of all axes by one below `figure`; nothing where there is none."""
    handles, notes = _taken_from(figure.axes)
    if not handles:
        return
    for old in [box for box in figure.legends if box.get_gid() == SHARED]:
        old.remove()
    # Curves and bars first, what they are compared with after them.
    handles = dict(sorted(handles.items(), key=lambda pair: not _is_curve(pair[1])))
    n_fitting = max(1, int(figure.get_figwidth() / (HANDLE + LETTER * max(map(len, handles)))))
    n_rows = -(-len(handles) // n_fitting)
    layout = figure.get_layout_engine()
    # Only a constrained layout makes room outside the axes; elsewhere a tight box does, on saving.
    place: dict = {"loc": "outside lower center"}
    if type(layout).__name__ != "ConstrainedLayoutEngine":
        to_figure = figure.transFigure.inverted()
        shown = [ax.get_tightbbox() for ax in figure.axes if ax.get_visible()]
        lowest = min([0.0, *(extent.transformed(to_figure).ymin for extent in shown)])
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, lowest)}
    box = figure.legend(
        list(handles.values()), list(handles), ncols=-(-len(handles) // n_rows),
        frameon=False, fontsize="small", title="; ".join(notes) or None, title_fontsize="small",
        **place,
    )  # fmt: skip
    box.get_title().set_color(GREY)
    box.set_gid(SHARED)


def _is_curve(handle) -> bool:
    artist = handle[0] if isinstance(handle, tuple) else handle
    return artist.get_gid() == CURVE


def _taken_from(axes) -> tuple[dict, list]:
    """Remove the legends of all axes; return handles by label, and the titles, each once."""
    handles: dict = {}
    notes = []
    for ax in axes:
        box = ax.get_legend()
        if box is None:
            continue
        notes.append(box.get_title().get_text())
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
        box.remove()
    return handles, [note for note in dict.fromkeys(notes) if note]
