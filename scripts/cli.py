"""The console script `byoc`. The commands lie in `scripts.app`, which takes 0.2 s to be read."""

from __future__ import annotations

from scripts.interrupt import be_quiet


def main() -> None:
    """Run the command line; exits with the codes of `scripts/errors.py`."""
    be_quiet()
    from scripts.app import app

    app()


if __name__ == "__main__":
    main()
