"""The models that others use: those of the library, and those of a spec's neighbouring files."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from rnnc.resources import specs_root
from rnnc.source import Source, UsageError
from rnnc.syntax.parse import read_source


def library() -> dict[str, Path]:
    """The models of the library: the file of each name."""
    out = {}
    for path in sorted(specs_root().rglob("*.rnn")):
        for found in re.finditer(r"^model[ \t]+(\w+)", path.read_text("utf-8"), re.MULTILINE):
            out[found[1]] = path
    return out


def library_file(name: str) -> Path:
    """The file of a library model.

    :raises UsageError: there is no such model.
    """
    models = library()
    if name not in models:
        lower = {n.lower(): n for n in models}
        close = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, 3)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UsageError(
            f"there is no library model {name}{hint} (rnnc specs lists them; "
            "a file's name ends in .rnn)"
        )
    return models[name]


def library_source(name: str) -> Source:
    """The text of a library model.

    :raises UsageError: there is no such model.
    """
    file = library_file(name)
    return replace(read_source(file), name=file.name)


class Neighbours:
    """Reads what ``use`` names, and remembers the text of each file by its path from the spec.

    ``files`` are such texts of a spec whose files are elsewhere: that of a compiled model.
    """

    def __init__(self, files: Mapping[str, str] | None = None):
        self.files = dict(files or {})
        self._paths: dict[Source, str] = {}  # of a file that was read, from the spec

    def __call__(self, source: Source, path: str | None, name: str) -> Source:
        """The text that ``use name from path`` in a source means; without path, the library's.

        :raises UsageError: there is none, or it lies outside of the source's folder.
        :raises SpecError: it is not text.
        """
        if path is None:
            return library_source(name)
        here = posixpath.dirname(self._paths.get(source, ""))
        key = posixpath.normpath(posixpath.join(here, _checked(path)))
        if key in self.files and source.path is None:
            found = Source(self.files[key], key)
        else:
            found = _read(source, path)
            self.files[key] = found.text
        self._paths[found] = key
        return found


def _checked(path: str) -> str:
    plain, windows = PurePosixPath(path), PureWindowsPath(path)
    if plain.is_absolute() or windows.anchor or ".." in (*plain.parts, *windows.parts):
        raise UsageError(f'"{path}" leads out of the folder of the spec')
    return path


def _read(source: Source, path: str) -> Source:
    if source.path is None:
        raise UsageError(f'"{path}" is looked for beside the spec, and {source.name} is no file')
    folder = Path(source.path).parent
    try:
        target = (folder / path).resolve()
        inside = target.is_relative_to(folder.resolve())
        known = target.is_file()
    except (OSError, ValueError, RuntimeError):  # a circle of links, a NUL
        raise UsageError(f'"{path}" cannot be read') from None
    if not inside:
        raise UsageError(f'"{path}" leads out of the folder of the spec')
    if not known:
        what = "a folder" if target.is_dir() else "not there"
        raise UsageError(f'"{path}" is {what}, beside {Path(source.name).name}')
    shown = str(Path(source.name).parent / path)
    return replace(read_source(target), name=shown, path=str(folder / path))
