"""`python -m tasks.report readme` writes the measured results into README.md and docs/results.md.
`--check` says whether they differ."""

import argparse
import sys
from pathlib import Path

from data_registry.errors import InputError
from tasks.report import readme

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/results.md")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tasks.report", description=__doc__)
    parser.add_argument("action", choices=["readme"])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    try:
        current = [_check(page) if check else _write(page) for page in PAGES]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all(current) else 1


def _check(name: str) -> bool:
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    current = text == readme.written(text, ROOT / "reports", name)
    print(f"{name} agrees with the results" if current else f"{name} is out of date: leave --check away")
    return current


def _write(name: str) -> bool:
    print(f"{name} updated" if readme.update(ROOT / name, ROOT / "reports") else f"{name} was up to date")
    return True


if __name__ == "__main__":
    raise SystemExit(main())
