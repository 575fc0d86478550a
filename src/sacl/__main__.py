"""`python -m sacl` is the command `sacl`; `torchrun ... -m sacl train` starts it in several processes."""

from sacl.cli import main

if __name__ == "__main__":
    main()
