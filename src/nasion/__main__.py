"""``python -m nasion``: the command line, where the command ``nasion`` is not on the path."""

from .tools.main import main

if __name__ == "__main__":
    main()
