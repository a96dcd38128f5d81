"""`python -m tasks.report readme` writes the measured results into README.md; `--check` says whether they differ."""

import argparse
import sys
from pathlib import Path

from data_registry.errors import InputError
from tasks.report import readme

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tasks.report", description=__doc__)
    parser.add_argument("action", choices=["readme"])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if README.md is out of date")
    given = parser.parse_args()
    page = ROOT / "README.md"
    try:
        if given.check:
            text = page.read_text(encoding="utf-8")
            current = text == readme.written(text, ROOT / "reports", str(page))
            print("README.md agrees with the results" if current else "README.md is out of date: leave --check away")
            return 0 if current else 1
        print("README.md updated" if readme.update(page, ROOT / "reports") else "README.md was up to date")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
