"""`python -m tleg_cli`: what torchrun starts in every process."""

from tleg_cli.cli import main

if __name__ == "__main__":
    main()
