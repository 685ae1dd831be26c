"""`python -m serve`: what the `serve` command runs."""

import sys

from serve.supervisor import main

if __name__ == "__main__":
    sys.exit(main())
