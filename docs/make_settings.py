"""Writes the table in docs/settings.md, from what the program itself knows of its settings."""

from pathlib import Path

from assistant.described import word
from assistant.settings import SETTINGS

PAGE = Path(__file__).parent / "settings.md"
BEGIN, END = "<!-- made by make_settings.py -->\n", "<!-- end -->\n"
BEGINS = {"reply": "the next reply", "chat": "the next chat", "start": "the next start"}


def table() -> str:
    """All settings, below their headings."""
    lines, group = [], ""
    for setting in SETTINGS.values():
        about = setting.about
        if about.group != group:
            group = about.group
            lines += [
                "",
                f"## {group}",
                "",
                "| setting | what it does | may be | where it is not set | counts from |",
                "|---|---|---|---|---|",
            ]
        unset = about.unset if about.default is None else word(about.default)
        may_be = setting.limits or "text"
        lines.append(
            f"| `{setting.name}` | {about.help} | {may_be} | {unset or 'nothing'} | {BEGINS[about.begins]} |"
        )
    return "\n".join(lines) + "\n\n"


def page() -> str:
    """The whole page, with the table of now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
