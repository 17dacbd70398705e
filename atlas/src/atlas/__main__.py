"""The ``atlas`` command."""

from __future__ import annotations

from atlas.cli import main

if __name__ == "__main__":
    main()
