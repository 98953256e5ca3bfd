"""`python docs/study_records.py STUDY`: what the pages keep of a finished study, its comparison as docs/NAME.json and the
records of its runs as docs/NAME.tar.xz; NAME is the folder's.

The archive holds no path of the machine that made it, and unpacks to a study that `bench concepts` goes on with. It has no
picture; what those of the untouched base say of a worth lies in levels.json.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path

from coeffdream.records.study import StudyFolder
from coeffdream.workshop.worth import LEVELS, levels_within

HERE = Path(__file__).parent
OF_A_RUN = ("run.json", "scores.json")


def keep(folder: Path, into: Path = HERE) -> None:
    """Raises RunError for a study that is damaged, FileNotFoundError for one that is not finished."""
    kept, name = StudyFolder(folder), folder.name
    study = kept.read()
    instead = {str(folder / "runs"): f"{name}/runs"}
    instead |= {concept: "/".join(Path(concept).parts[-2:]) for concept in study.concepts}
    runs = [kept.run(cell).path for cell in study.cells]
    files = [kept.record_file, kept.arms_file, folder / "stages.jsonl"]
    files += [run / file for run in runs for file in OF_A_RUN]
    with (
        lzma.open(into / f"{name}.tar.xz", "wb", preset=9) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for file in files:
            text = file.read_text(encoding="utf-8")
            for path, relative in instead.items():
                text = text.replace(f'"{path}"', f'"{relative}"')
            add(archive, f"{name}/{file.relative_to(folder).as_posix()}", text)
        add(archive, f"{name}/{LEVELS}", json.dumps([asdict(each) for each in levels_within(folder)]))
    shutil.copyfile(folder / "comparison.json", into / f"{name}.json")


def add(archive: tarfile.TarFile, path: str, text: str) -> None:
    member = tarfile.TarInfo(path)
    member.size = len(data := text.encode())
    archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    keep(Path(sys.argv[1]).resolve())
