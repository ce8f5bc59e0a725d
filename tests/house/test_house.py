"""The rules of the house that no other tool holds: captions, sizes, names, files, settings."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings
from tests.house.sources import (
    ROOT,
    Function,
    Module,
    list_files,
    list_modules,
    list_program,
)

FILE_LINES_LIMIT = 300
TEST_FILE_LINES_LIMIT = 500
FUNCTION_LINES_LIMIT = 50
FOLDER_MODULES_LIMIT = 14
PARAMETERS_LIMIT = 6
CAPTION_LENGTH_LIMIT = 120

BANNED_WORDS = frozenset(
    {"utils", "helpers", "common", "misc", "manager", "handler", "processor", "service"}
    | {"data", "info", "obj"}
)
BANNED_STARTS = ("do_", "process_")
BANNED_ENDS = ("_new", "_v2")
PROPER_TERMS = re.compile("data_?(?:uri|dir|received)|do_GET", re.IGNORECASE)

HISTORY = "migrations/versions/"
REGISTRY_HOST = re.compile(
    r"https?://[^\s/]*(?:py" + r"pi|npm|pythonhosted|registry|artifact|nexus|mirror)[^\s/]*"
)


def test_every_module_has_a_caption_of_one_line() -> None:
    assert [module.name for module in list_modules() if not _has_caption(module)] == []


def test_no_file_is_too_long() -> None:
    assert [
        (module.name, module.lines_count)
        for module in list_modules()
        if not module.name.startswith(HISTORY)
        and module.lines_count > (TEST_FILE_LINES_LIMIT if module.is_test else FILE_LINES_LIMIT)
    ] == []


def test_no_folder_holds_too_many_modules() -> None:
    folders = Counter(str(Path(module.name).parent) for module in list_program())

    assert {name: count for name, count in folders.items() if count > FOLDER_MODULES_LIMIT} == {}


def test_no_function_is_too_long() -> None:
    assert [
        (module.name, function.name, _count_lines(function))
        for module in list_modules()
        if not module.name.startswith(HISTORY)
        for function in module.functions()
        if _count_lines(function) > FUNCTION_LINES_LIMIT
    ] == []


def test_no_function_has_too_many_parameters() -> None:
    """But the commands: their parameters are their flags."""
    assert [
        (module.name, function.name, _count_parameters(function))
        for module in list_program()
        if not module.name.startswith("app/cli/")
        for function in module.functions()
        if _count_parameters(function) > PARAMETERS_LIMIT
    ] == []


def test_names_say_what_a_thing_is() -> None:
    assert [
        (module.name, name)
        for module in list_modules()
        for name in _list_names(module)
        if _is_banned(name)
    ] == []


def test_the_program_prints_through_its_own_words_only() -> None:
    assert [
        (module.name, node.lineno)
        for module in list_program()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ] == []


def test_nothing_is_imported_within_a_function() -> None:
    assert [
        (module.name, node.lineno)
        for module in list_program()
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ] == []


def test_no_file_names_a_place_of_this_machine_or_a_registry() -> None:
    assert [
        (name, found)
        for name, text in _read_texts()
        for found in (*_find_places(text), *REGISTRY_HOST.findall(text))
    ] == []


def test_the_example_names_every_setting_with_its_default_and_nothing_else() -> None:
    text = (ROOT / ".env.example").read_text()

    assert dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE)) == _list_settings()


def test_the_example_explains_every_setting_in_one_line_and_sets_none() -> None:
    _, *paragraphs = (ROOT / ".env.example").read_text().strip().split("\n\n")

    assert len(paragraphs) == len(_list_settings())
    for paragraph in paragraphs:
        assert re.fullmatch(r"# [^\n]{10,98}\.\n#[A-Z_]+=.*", paragraph), paragraph


def test_rooms_are_entered_by_their_doors() -> None:
    """The contracts of import-linter, in pyproject.toml."""
    linted = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as lint; lint()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_locks_name_no_host_and_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert not re.search(r"^\s*(?:-i|-f|--index|--extra-index|--find-links)", text, re.M)
        assert all("--hash=sha256:" in entry for entry in _split_lock(text).values())


def test_what_runs_is_what_is_tested() -> None:
    runtime = _split_lock((ROOT / "requirements.lock").read_text())
    tested = _split_lock((ROOT / "requirements-dev.lock").read_text())

    assert {pin: tested.get(pin) for pin in runtime} == runtime


def _has_caption(module: Module) -> bool:
    caption = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
    return 0 < len(caption) <= CAPTION_LENGTH_LIMIT and "\n" not in caption


def _count_lines(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _count_parameters(function: Function) -> int:
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])


def _list_names(module: Module) -> Iterator[str]:
    """Of its folders, itself, its classes and functions; tests are sentences, not names."""
    yield from Path(module.name).with_suffix("").parts
    for node in ast.walk(module.tree):
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("test_"):
            yield node.name


def _is_banned(name: str) -> bool:
    plain = PROPER_TERMS.sub("", name)
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", plain)
    return (
        not BANNED_WORDS.isdisjoint(word.lower() for word in words)
        or plain.lstrip("_").startswith(BANNED_STARTS)
        or plain.endswith(BANNED_ENDS)
    )


def _read_texts() -> Iterator[tuple[str, str]]:
    for name in list_files():
        try:
            yield name, (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue


def _find_places(text: str) -> list[str]:
    places = (str(ROOT), f"{Path.home()}/.")
    return [place for place in places if len(Path(place).parts) > 2 and place in text]


def _list_settings() -> dict[str, str]:
    """Each variable and its default as the environment writes it."""
    prefix = Settings.model_config["env_prefix"]
    settings = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variable = prefix + name.upper() if alias is None else str(alias.choices[0])  # type: ignore[union-attr]
        settings[variable] = "" if field.default in {None, ()} else str(field.default)
    return settings


def _split_lock(text: str) -> dict[str, str]:
    """Each pin, environment marker and all, with the hashes below it."""
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    return {
        pin.rstrip(" \\"): "\n".join(re.findall(r"--hash=\S+", hashes))
        for pin, _, hashes in (entry.partition("\n") for entry in entries)
    }
