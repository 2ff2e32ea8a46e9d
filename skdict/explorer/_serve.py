"""The explorer in a browser: on this machine only, or with a token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets

from skdict._validation import check_integer, import_optional
from skdict.explorer._app import check_study, explore
from skdict.explorer._app_fragments import escape
from skdict.explorer._bundle import Bundle, open_bundle

LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "")


def serve(
    bundle,
    *,
    notes=None,
    study=None,
    answers=None,
    key=None,
    show_labels: bool = False,
    address: str = LOOPBACK,
    port: int = 0,
    token: str | None = None,
    show: bool = True,
    block: bool = True,
):
    """Show a concept bundle in a browser until it is stopped from the keyboard.

    By default only programs on this machine reach it. At any other address a token is part of the
    link, and without it nothing of the bundle is shown. Traffic is not encrypted: across a network
    prefer a tunnel (``ssh -L``) to a public address.

    Parameters
    ----------
    bundle : Bundle, str or path-like
        The bundle.
    notes : NotesStore or None, default=None
        Where notes are kept; None shows no form.
    study, answers, key, show_labels
        As in :func:`explore`.
    address : str, default="127.0.0.1"
        Address to listen at; ``"0.0.0.0"`` is all of this machine.
    port : int, default=0
        Port; 0 takes a free one.
    token : str or None, default=None
        What the link must hold. None makes one, except on the loopback address, where none is
        needed.
    show : bool, default=True
        Open the page in the browser.
    block : bool, default=True
        Return when it is stopped; False returns at once.

    Returns
    -------
    ExplorerServer
        With ``url``, the link to open, and ``stop()``.

    Raises
    ------
    ImportError
        Without Panel: install ``skdict[explorer]``.
    OSError
        If the address is not one of this machine or the port is taken.
    ValueError
        As :func:`explore`, or if the token is shorter than 16 characters.

    Examples
    --------
    >>> from skdict.explorer import serve
    >>> serve("my_bundle", port=5006)  # doctest: +SKIP
    """
    pn = import_optional("panel", extra="explorer")
    check_integer("port", port, 0)
    if ":" in address:
        raise ValueError(f"address must be a name or an IPv4 address, got {address!r}")
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    if study is not None:
        check_study(bundle, study, answers)
    if token is None and not _is_loopback(address):
        token = secrets.token_urlsafe(24)
    if token is not None and len(token) < 16:
        raise ValueError(f"token must have at least 16 characters, got {len(token)}")

    shown = {"notes": notes, "study": study, "answers": answers, "key": key}
    shown["show_labels"] = show_labels

    def page():
        if token is not None and not _has_token(pn, token):
            return pn.pane.HTML(f"<p>{escape('The link has no valid token.')}</p>")
        return explore(bundle, **shown)

    # the title is part of the page that is sent without a token, too
    titles = {"/": bundle.title if bundle.title and token is None else "skdict explorer"}
    # once before anyone comes: the first reader would wait for imports, checksums and style sheets
    explore(bundle, **shown).get_root()
    server = pn.serve(
        {"/": page}, title=titles, address=address, port=port, show=False, start=False,
        threaded=False, verbose=False, websocket_origin=_origins(address),
        session_token_expiration=86_400,
    )  # fmt: skip
    running = ExplorerServer(server, address, token)
    server.start()
    if show:
        server.io_loop.add_callback(lambda: _open_browser(running.url))
    if block:
        print(f"Explorer at {running.url} (stop with Ctrl+C)", flush=True)
        if address in WILDCARDS:
            print(f"From elsewhere: the name of this machine in place of {LOOPBACK}", flush=True)
        try:
            server.io_loop.start()
        except KeyboardInterrupt:
            running.stop()
    return running


class ExplorerServer:
    """A server that runs.

    Parameters
    ----------
    server : bokeh.server.server.Server
        The server.
    address : str
        Where it listens.
    token : str or None
        What the link must hold.

    Attributes
    ----------
    url : str
        The link to open, with the token.
    """

    def __init__(self, server, address: str, token: str | None):
        self._server = server
        host = LOOPBACK if address in WILDCARDS else address
        query = "" if token is None else f"?token={token}"
        self.url = f"http://{host}:{server.port}/{query}"

    def stop(self) -> None:
        """Stop serving; notes and answers are on disk already."""
        self._server.stop()

    def __repr__(self):
        """Where it is."""
        return f"ExplorerServer({self.url!r})"


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _has_token(pn, token: str) -> bool:
    """Whether the request of this session has the token; compared in constant time."""
    given = pn.state.session_args.get("token", [b""])
    return hmac.compare_digest(given[0], token.encode())


def _origins(address: str):
    """Pages that may open a connection: those of the server itself."""
    return None if _is_loopback(address) else ["*"]


def _open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
