"""The GGUF vocabulary of a checkpoint folder with a BPE tokenizer.json, byte-level or of SentencePiece's kind.

Read are tokenizer.json, tokenizer_config.json, generation_config.json, config.json and chat_template.jinja:
what transformers saves. The chat template is taken byte for byte.
"""

from collections.abc import Mapping
from pathlib import Path

from convert.added_tokens import MAX_ID, added_tokens, refuse_odd_search, take_space_behind
from convert.byte_level import byte_level_metadata
from convert.checkpoint import Json, read_json
from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType
from convert.sentencepiece import is_sentencepiece, sentencepiece_metadata, sentencepiece_tokens
from convert.untrusted import clean_line
from convert.vocabulary import CONTROL, NORMAL, USER_DEFINED, Vocabulary, padded

_MAX_TEMPLATE_BYTES = 1 << 20
_KEY = "tokenizer.ggml."
_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def folder_vocabulary(folder: Path, base: Path, rows: int, config: Mapping[str, Json]) -> Vocabulary:
    """Read a folder's vocabulary; `rows` is how many rows the embedding has.

    `base` is the checkpoint's folder, of which `config` is the config.json; it is the same folder unless an
    adapter brings its own tokenizer, and then gives what that lacks.
    Raises TakebackError for a kind of tokenizer that is not known, and for anything off, by name.
    """
    tokenizer = read_json(folder / "tokenizer.json")
    settings = _optional(folder / "tokenizer_config.json")
    generation = _optional(base / "generation_config.json")
    vocab = _vocab(_bpe(tokenizer))
    entries = added_tokens(tokenizer, settings)
    refuse_odd_search(entries)
    added = {entry.id: (entry.text, CONTROL if entry.said("special") else USER_DEFINED) for entry in entries}
    if is_sentencepiece(tokenizer):
        normalized = frozenset(entry.id for entry in entries if entry.said("normalized"))
        tokens = sentencepiece_tokens(vocab, added, normalized, _unknown(tokenizer))
        texts, types = padded(tokens, rows)
        other = sentencepiece_metadata(tokenizer, texts, types)
    else:
        _check_unique(vocab)
        texts, types = padded({i: (text, NORMAL) for text, i in vocab.items()} | added, rows)
        other = byte_level_metadata(tokenizer, {text: i for i, text in enumerate(texts)})
    ids = {text: i for i, text in enumerate(texts)}
    special = _special_ids(ids, settings, generation, config)
    other |= {key: TypedValue(ValueType.UINT32, i) for key, i in special.items()}
    begins, ends = _framing(tokenizer)
    other[_KEY + "add_bos_token"] = TypedValue(ValueType.BOOL, begins)
    other[_KEY + "add_eos_token"] = TypedValue(ValueType.BOOL, ends)
    other |= chat_template(folder, base)
    return Vocabulary(texts, types, other, take_space_behind(entries))


def _optional(path: Path) -> dict[str, Json]:
    return read_json(path) if path.exists() else {}


def _bpe(tokenizer: Mapping[str, Json]) -> Mapping[str, Json]:
    """The `model` part of a tokenizer.json, after a check that it is a BPE."""
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        raise TakebackError("tokenizer.json: has no model")
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind != "BPE":
        raise TakebackError(
            f"tokenizer.json: a {clean_line(str(kind)[:40])} tokenizer cannot be converted; BPE can, byte-level "
            "or of SentencePiece's kind"
        )
    return model


def _vocab(model: Mapping[str, Json]) -> dict[str, int]:
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(type(i) is int and 0 <= i < MAX_ID for i in vocab.values()):
        raise TakebackError("tokenizer.json: its vocabulary is no table of tokens and ids")
    return vocab


def _check_unique(vocab: Mapping[str, int]) -> None:
    if len(set(vocab.values())) < len(vocab):
        raise TakebackError("tokenizer.json: two tokens of its vocabulary have one id")


def _unknown(tokenizer: Mapping[str, Json]) -> str | None:
    text = tokenizer["model"].get("unk_token")
    return text if isinstance(text, str) else None


def _special_ids(
    ids: Mapping[str, int],
    settings: Mapping[str, Json],
    generation: Mapping[str, Json],
    config: Mapping[str, Json],
) -> dict[str, int]:
    """The ids of beginning, end, unknown and padding. One that is missing would get llama.cpp's own default.

    generation_config.json may list several ends: what is not the tokenizer's own end of text becomes the end
    of a turn and the end of a message.
    """
    found: dict[str, int] = {}
    for theirs, ours in _ROLES.items():
        given = settings.get(f"{theirs}_token")
        text = given.get("content") if isinstance(given, dict) else given
        fallback = config.get(f"{theirs}_token_id")
        if isinstance(text, str) and text in ids:
            found[ours] = ids[text]
        elif type(fallback) is int and 0 <= fallback < len(ids):
            found[ours] = fallback
    ends = [
        i for source in (generation, config) for i in _id_list(source.get("eos_token_id")) if i < len(ids)
    ]
    if "eos" not in found and not ends:
        raise TakebackError("tokenizer_config.json: names no eos_token, so no reply would ever end")
    found.setdefault("eos", ends[0] if ends else 0)
    found.setdefault("bos", found["eos"])
    others = [i for i in dict.fromkeys(ends) if i != found["eos"]]
    found |= dict(zip(("eot", "eom"), others, strict=False))
    return {f"{_KEY}{role}_token_id": i for role, i in found.items()}


def _id_list(given: Json) -> list[int]:
    values = given if isinstance(given, list) else [given]
    return [i for i in values if type(i) is int and i >= 0]


def _framing(tokenizer: Mapping[str, Json]) -> tuple[bool, bool]:
    """Whether tokenizing puts a beginning before a text, and an end behind it."""
    post = tokenizer.get("post_processor")
    if not isinstance(post, dict):
        return False, False
    for step in _objects(post.get("processors")) if post.get("type") == "Sequence" else [post]:
        if step.get("type") == "TemplateProcessing":
            kinds = ["SpecialToken" in part for part in _objects(step.get("single"))]
            return bool(kinds and kinds[0]), bool(kinds and kinds[-1] and len(kinds) > 1)
    return False, False


def _objects(given: Json) -> list[dict[str, Json]]:
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def chat_template(folder: Path, base: Path) -> dict[str, TypedValue]:
    """The key of the chat template, byte for byte: the folder's, or else that of `base`; empty without one."""
    own = _template(folder, _optional(folder / "tokenizer_config.json"))
    return own or _template(base, _optional(base / "tokenizer_config.json"))


def _template(folder: Path, settings: Mapping[str, Json]) -> dict[str, TypedValue]:
    """The chat template; chat_template.jinja wins over tokenizer_config.json, as in transformers."""
    path = folder / "chat_template.jinja"
    given = settings.get("chat_template")
    if path.exists():
        try:
            if path.stat().st_size > _MAX_TEMPLATE_BYTES:
                raise TakebackError(f"{path}: larger than a mebibyte")
            given = path.read_bytes().decode()
        except OSError as error:
            raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise TakebackError(f"{path}: not UTF-8") from error
    if isinstance(given, list):  # several, by name
        named = [entry for entry in given if isinstance(entry, dict) and entry.get("name") == "default"]
        given = named[-1].get("template") if named else None
    if given is None:
        return {}
    if not isinstance(given, str):
        raise TakebackError(f"{folder / 'tokenizer_config.json'}: chat_template is no text")
    return {"tokenizer.chat_template": TypedValue(ValueType.STRING, given)}
