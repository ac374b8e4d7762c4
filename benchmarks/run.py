"""All benchmarks, one after the other: ``python benchmarks/run.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("compile.py", "core.py", "training.py", "clockwork.py")


def main() -> int:
    """Run each script in a process of its own, so that none warms another."""
    folder = Path(__file__).parent
    return max(
        subprocess.run([sys.executable, str(folder / name)], check=False).returncode
        for name in SCRIPTS
    )


if __name__ == "__main__":
    raise SystemExit(main())
