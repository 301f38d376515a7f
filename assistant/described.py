"""What a setting is: its type, its limits and its help, in one place for the config file, the flags and the screens.

It imports next to nothing: every `--help` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_type_hints

from convert.errors import TakebackError

if TYPE_CHECKING:
    from argparse import _ActionsContainer

YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

Value = str | int | float | bool
"""What a setting can be set to."""


class About(NamedTuple):
    """What is told of a setting beside its name and its type."""

    help: str
    low: float | None = None
    high: float | None = None
    default: Value | None = None
    """What it is where it is not set; None where the model or `help` says that."""
    metavar: str = ""
    group: str = ""
    """The heading under which it is shown."""
    begins: Literal["reply", "chat", "start"] = "reply"
    """With what a change begins to count: the next reply, the next chat, or the program's next start."""
    lines: bool = False
    """Whether a text may have several lines."""
    unset: str = ""
    """In words, what it is where it is not set and has no `default`."""


class Setting(NamedTuple):
    """One setting as it is described. `choices` are the words that it may be, where they are few."""

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    choices: tuple[str, ...]
    about: About

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def help(self) -> str:
        """What it does, and what it is where it is not set."""
        if self.about.default is not None:
            return f"{self.about.help}; default {word(self.about.default)}"
        return f"{self.about.help}; default: {self.about.unset}" if self.about.unset else self.about.help

    @property
    def limits(self) -> str:
        """What it may be, in words; empty for free text."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return ""
        what = "a whole number" if self.kind is int else "a number"
        if self.about.low is None or self.about.high is None:
            return what
        return f"{what} from {word(self.about.low)} to {word(self.about.high)}"

    def read(self, value: object, where: str) -> Any:  # noqa: ANN401 (of the setting's type)
        """A variable's text, a field's or a TOML value as the setting's type.

        Raises TakebackError that begins with `where` and says what it must be.
        """
        read = self._as_kind(value)
        if read is None or (self.choices and read not in self.choices):
            raise TakebackError(f"{where} is {value!r}; it must be {self.limits or 'text'}")
        self.check(read, where)
        return read

    def check(self, value: Any, where: str) -> None:  # noqa: ANN401 (of the setting's type, or None: not set)
        """Raise TakebackError unless a value is within the limits."""
        low, high = self.about.low, self.about.high
        if (
            value is not None and low is not None and high is not None and not low <= value <= high
        ):  # NaN is in none
            raise TakebackError(f"{where} is {value}; it must be from {word(low)} to {word(high)}")

    def _as_kind(self, value: object) -> Value | None:
        """The value in the setting's type, or None where it is none of it."""
        if self.kind is str:
            return value if isinstance(value, str) else None
        if self.kind is bool:
            word = str(value).lower()
            return word in YES if word in YES + NO else None
        if isinstance(value, bool):
            return None
        try:
            return self.kind(str(value))
        except ValueError:
            return None


def described(settings: type) -> dict[str, Setting]:
    """The settings of a class whose annotations are `Annotated[TYPE | None, About(…)]`, by name."""
    hints = get_type_hints(settings, include_extras=True)
    return {name: _described(name, hint) for name, hint in hints.items()}


def add_flags(parser: _ActionsContainer, *settings: Setting, **other_help: str) -> None:
    """Give a command the flags of settings; `other_help` has, by name, what one means there."""
    for setting in settings:
        told: dict[str, Any] = {"help": other_help.get(setting.name, setting.help).replace("%", "%%")}
        if setting.kind is bool:
            parser.add_argument(setting.flag, action="store_true", default=None, **told)
        elif setting.choices:
            parser.add_argument(setting.flag, choices=setting.choices, **told)
        else:
            metavar = setting.about.metavar or ("S" if setting.kind is str else "N")
            parser.add_argument(setting.flag, type=setting.kind, metavar=metavar, **told)


def _described(name: str, hint: Any) -> Setting:  # noqa: ANN401 (a type)
    optional, about = get_args(hint)
    kind = next(part for part in get_args(optional) if part is not type(None))
    choices = get_args(kind)
    return Setting(name, str if choices else kind, choices, about)


def word(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,.10g}" if isinstance(value, int | float) else str(value)
