"""Rules of the whole house that no other tool checks: what is imported when, and what text is markup."""

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from assistant.cli import COMMANDS

ROOT = Path(__file__).parent.parent
HEAVY = (
    "llama_cpp",
    "textual",
    "starlette",
    "uvicorn",
    "numpy",
    "jinja2",
    "huggingface_hub",
    "torch",
    "transformers",
)
TRAINING = ("torch", "transformers", "peft", "trl", "accelerate")
GRADIENTS = "evals.attacks.whitebox."  # attacks that need the extra attacks, loaded when one is asked for

HELP = """
import sys
from assistant.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code in (0, None), end.code
print("loaded:", *sorted(set(sys.modules) & set({heavy})))
"""

EVERYTHING = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {training}:
            raise ImportError(name + " must not be needed outside train")
sys.meta_path.insert(0, Absent())
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
"""


def run(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_that_it_does_not_need(arguments):
    output = run(HELP.format(heavy=HEAVY), *arguments)
    assert "takeback" in output
    assert output.endswith("loaded:\n"), output.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_what_the_table_says(name):
    command = COMMANDS[name]
    module = import_module(command.module)
    assert callable(getattr(module, command.add_arguments))
    assert callable(getattr(module, command.run))
    assert command.summary


def modules(package):
    root = import_module(package)
    found = (found.name for found in pkgutil.walk_packages(root.__path__, f"{package}."))
    return [package, *(name for name in found if not name.startswith(GRADIENTS))]


def test_no_module_outside_train_needs_the_training_extra():
    run(
        EVERYTHING.format(training=TRAINING),
        *(n for p in ("assistant", "convert", "evals") for n in modules(p)),
    )


def places_of_markup(source):
    """Lines that hand text to Textual that is not written there, without saying that it is no markup."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and takes_markup(node, tree) and not is_plain(node):
            yield node.lineno


def takes_markup(call, tree):
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in ("Static", "Label", "notify"):
            return True
        case ast.Attribute(attr="__init__", value=ast.Call(func=ast.Name(id="super"))):
            return any(inherits_markup(cls) and call in ast.walk(cls) for cls in ast.walk(tree))
    return False


def inherits_markup(node):
    if not isinstance(node, ast.ClassDef):
        return False
    return any(isinstance(base, ast.Name) and base.id in ("Static", "Label") for base in node.bases)


def is_plain(call):
    texts = [
        *call.args[:1],
        *(k.value for k in call.keywords if k.arg in ("content", "renderable", "message")),
    ]
    if all(isinstance(text, ast.Constant) or is_content(text) for text in texts):
        return True
    return any(
        k.arg == "markup" and isinstance(k.value, ast.Constant) and k.value.value is False
        for k in call.keywords
    )


def is_content(node):
    """Textual's own styled text, made without reading markup."""
    match node:
        case ast.Call(func=ast.Name(id="Content")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="Content"), attr="assemble" | "styled" | "blank")):
            return True
    return False


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Static('x')", 0),
        ("Static()", 0),
        ("Static(text)", 1),
        ("Static(f'{text}', markup=True)", 1),
        ("Label(text, markup=False)", 0),
        ("Static(Content(text))", 0),
        ("Static(Content.assemble(*parts))", 0),
        ("Static(Content.from_markup(text))", 1),
        ("self.notify(str(error))", 1),
        ("self.notify(message=error)", 1),
        ("self.app.notify(error, markup=False)", 0),
        ("class A(Static):\n def __init__(self, t):\n  super().__init__(t)", 1),
        ("class A(Static):\n def __init__(self, t):\n  super().__init__(t, markup=False)", 0),
        ("class A(Widget):\n def __init__(self, t):\n  super().__init__(t)", 0),
    ],
)
def test_the_check_of_markup_sees_what_it_should(source, found):
    assert len(list(places_of_markup(source))) == found


def test_no_text_of_a_model_or_a_user_is_read_as_markup():
    places = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "assistant" / "tui").rglob("*.py"))
        for line in places_of_markup(path.read_text(encoding="utf-8"))
    ]
    assert not places, f"add markup=False: {', '.join(places)}"
