"""`python -m sandpiper`."""

import sys

from sandpiper.cli import main

if __name__ == "__main__":
    sys.exit(main())
