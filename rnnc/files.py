"""Files that are written whole or not at all, and never over one that is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rnnc.source import UsageError

Named = Iterable[tuple[str, str | Path]]


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """A file beside ``path`` to be filled, which takes its place at the end.

    :raises UsageError: nothing can be written there.
    """
    target = Path(os.path.realpath(path))  # through links, which stay
    part = target.with_name(f".{target.stem[:80]}.{os.getpid()}{target.suffix}")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())  # else a crash may leave the name without the content
        if target.exists():
            part.chmod(target.stat().st_mode & 0o7777)
        os.replace(part, target)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def check_apart(read: Named, written: Named) -> None:
    """Refuse to write to a file that is read, or two things to the same one.

    ``read`` has what a file is (``the data``) and its path, ``written`` the option and the path.

    :raises UsageError: naming the option that needs another file.
    """
    taken = list(read)
    for option, path in written:
        for what, other in taken:
            if same_file(path, other):
                raise UsageError(f"{path} is {what}; give another name to {option}")
        taken.append((f"what {option} writes", path))


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file, which need not be there yet."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)  # another hard link, or another case of letters
    except OSError:
        return False
