"""The colours of the chat: two sets of its own, and Textual's, under the names that the settings have."""

from __future__ import annotations

from textual.app import App
from textual.filter import Monochrome, NoColor
from textual.theme import Theme

DARK = Theme(
    name="dark",
    primary="#7fa7c9",
    secondary="#a3b18a",
    accent="#c9a87f",
    success="#8fb996",
    warning="#d4b483",
    error="#cf8a84",
    foreground="#d7dae0",
    background="#15181d",
    surface="#1b1f26",
    panel="#222831",
    dark=True,
)

LIGHT = Theme(
    name="light",
    primary="#2f5d87",
    secondary="#4f6231",
    accent="#7a5620",
    success="#2f6b3d",
    warning="#7d5a12",
    error="#9b3a32",
    foreground="#24282e",
    background="#f6f5f1",
    surface="#eceae4",
    panel="#e1dfd7",
    dark=False,
)

OWN = {theme.name: theme for theme in (DARK, LIGHT)}
_TEXTUALS = {"terminal-dark": "ansi-dark", "terminal-light": "ansi-light"}


def register(app: App[None]) -> None:
    """Make this program's own colours known."""
    for theme in OWN.values():
        app.register_theme(theme)


def put_on(app: App[None], name: str) -> None:
    """Show the application in these colours, by the settings' name for them; with `NO_COLOR`, in none."""
    name = _TEXTUALS.get(name, name)
    name = name if name in app.available_themes else DARK.name
    if app.no_color:
        dark = app.available_themes[name].dark
        name = "ansi-dark" if dark else "ansi-light"  # Textual's greys would be colours of ours
        app._filters = [*(f for f in app._filters if not isinstance(f, NoColor | Monochrome)), NoColor()]
    app.theme = name


def worn_by(app: App[None]) -> str:
    """The settings' name for the colours that the application has now."""
    return next((name for name, theme in _TEXTUALS.items() if theme == app.theme), app.theme)
