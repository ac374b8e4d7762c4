"""Where the grammar files and the spec library lie, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from rnnc.source import InternalError

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    """The folder ``name``: inside the package where installed, else beside ``pyproject.toml``.

    A wheel ships these folders inside the package; in a checkout, and so in an editable
    install, they are folders of the top level.
    """
    installed = _PACKAGE / name
    if installed.is_dir():
        return installed
    for parent in _PACKAGE.parents:
        if (parent / "pyproject.toml").is_file() and (parent / name).is_dir():
            return parent / name
    raise InternalError(f"the folder {name}/ of rnnc is missing; the installation is damaged")


def grammar_text(name: str) -> str:
    """The text of the grammar file ``name`` (``rnn.lark``)."""
    return (_folder("grammar") / name).read_text(encoding="utf-8")


def specs_root() -> Path:
    """The folder of the spec library, with ``cells/``, ``models/``, ``optim/`` in it."""
    return _folder("specs")
