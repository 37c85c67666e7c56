"""``python -m ssc``."""

from ssc.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
