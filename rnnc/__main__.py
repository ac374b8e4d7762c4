"""``python -m rnnc`` is the command line."""

import sys

from rnnc.cli import main

if __name__ == "__main__":
    sys.exit(main())
