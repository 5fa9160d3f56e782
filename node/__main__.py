"""`python -m node`: the command line."""

from node.cli.main import main

if __name__ == "__main__":
    main()
