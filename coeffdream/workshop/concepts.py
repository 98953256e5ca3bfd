"""`python -m coeffdream.workshop.concepts FOLDER SUBJECT...`: concept folders of individuals that are not shipped."""

from __future__ import annotations

import argparse
from pathlib import Path

from coeffdream.toybox.world.concepts import other_concepts, write_concepts
from coeffdream.toybox.world.names import SUBJECTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="coeffdream.workshop.concepts", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("subjects", nargs="+", choices=SUBJECTS, metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--seed", type=int, default=0, help="others of the same subjects")
    given = parser.parse_args()
    write_concepts(given.folder, other_concepts(given.subjects, given.seed))


if __name__ == "__main__":
    main()
