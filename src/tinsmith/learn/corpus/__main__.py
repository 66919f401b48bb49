"""The command line of the corpus: `python -m tinsmith.learn.corpus`."""

import argparse
from pathlib import Path

from tinsmith.learn.corpus import CONFIG, collect, pin


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tinsmith.learn.corpus", description="Collect training text.")
    parser.add_argument("--cache", type=Path, required=True, help="directory for archives and results")
    parser.add_argument("--config", type=Path, default=CONFIG, help="pinned packages")
    parser.add_argument(
        "--pin", type=Path, metavar="NAMES", help="print a configuration for the projects named in this file"
    )
    given = parser.parse_args(arguments)
    if given.pin is not None:
        print(pin(given.pin.read_text(encoding="utf-8").split(), given.cache), end="")
        return
    manifest = collect(given.config, given.cache)
    print(f"{manifest.functions} functions, {manifest.characters} characters, {len(manifest.rows)} packages")


if __name__ == "__main__":
    main()
