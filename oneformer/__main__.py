"""``python -m oneformer``: the command, also without an installation."""

import sys

from oneformer.cli import main

if __name__ == '__main__':
    sys.exit(main())
