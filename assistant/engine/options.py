"""What a user may choose about loading a model and about a reply. None stands for the model's own value."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from assistant.settings import SETTINGS, Settings
from convert.errors import TakebackError

AfterReset = Literal["rewind", "keep", "off"]
Keeps = Literal["chats", "system"]
AFTER_RESET = ("rewind", "keep", "off")


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model. `ctx` in tokens; `threads` None means the machine's physical cores.

    `prompt_cache` is how many MiB of the disk may hold what was read, so that it need not be read again, and
    `keeps` of what: of whole chats, or of the system message alone.
    """

    ctx: int | None = None
    threads: int | None = None
    gpu_layers: int = 0
    reset_token: str | None = None
    prompt_cache: int = 0
    keeps: Keeps = "chats"

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class GenerateOptions:
    """How to write a reply.

    The sampling defaults suit a small model: at temperature 0.7 it stays varied; top-k 40 and top-p 0.9 cut
    the long tail, in which a model of 135M parameters keeps much of its nonsense; min-p 0.05 cuts more where
    the model is sure. A repeat penalty of 1.1 over the last 64 tokens keeps it out of loops, which small
    models fall into; 1 is none. Temperature 0 takes the most likely token, after the penalty. The others are
    off at 0: `dry` lowers what would repeat a run of tokens, by this strength; `xtc` is the chance at each
    token that the likeliest are left out; `mirostat` aims at a surprise of so many bits a token, in place of
    top-k, top-p and min-p. `grammar` is GBNF text that the reply must follow; it never holds up a reset.
    """

    seed: int | None = None
    temperature: float = 0.7
    top_p: float = 0.9
    min_p: float = 0.05
    max_tokens: int | None = None
    after_reset: AfterReset | None = None
    reset_bias: float | None = None
    max_resets: int = 4
    hold_back: int | None = None
    prefill: str = ""
    show_discarded: bool = False
    top_k: int = 40
    repeat_penalty: float = 1.1
    dry: float = 0.0
    xtc: float = 0.0
    mirostat: float = 0.0
    grammar: str = ""
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self)
        if self.after_reset not in (*AFTER_RESET, None):
            raise TakebackError(f"after-reset is {self.after_reset!r}; it must be one of rewind, keep, off")
        if not all(self.stop):
            raise TakebackError("a stop text is empty; leave it out")


def _check(options: LoadOptions | GenerateOptions) -> None:
    """Raise TakebackError unless all that are settings are within those's limits."""
    for field in fields(options):
        if setting := SETTINGS.get(field.name):
            setting.check(getattr(options, field.name), field.name.replace("_", "-"))


def load_options(settings: Settings, *, keeps: Keeps | None = None) -> LoadOptions:
    """The part of the settings that loading a model needs. Of what is read, nothing is kept on the disk if not told."""
    chosen = LoadOptions(**_chosen(settings, LoadOptions))
    if keeps is None:
        return replace(chosen, prompt_cache=0)
    most = SETTINGS["prompt_cache"].about.default if settings.prompt_cache is None else settings.prompt_cache
    return replace(chosen, prompt_cache=int(most or 0), keeps=keeps)


def generate_options(
    settings: Settings, *, prefill: str = "", show_discarded: bool = False
) -> GenerateOptions:
    """The part of the settings that writing a reply needs, and what only this reply is asked for."""
    chosen = _chosen(settings, GenerateOptions)
    return GenerateOptions(**chosen, prefill=prefill, show_discarded=show_discarded)


def _chosen(settings: Settings, options: type) -> dict[str, Any]:
    """The settings that the user has made and that these options have, by name."""
    values = ((field.name, getattr(settings, field.name, None)) for field in fields(options))
    return {name: value for name, value in values if value is not None}
