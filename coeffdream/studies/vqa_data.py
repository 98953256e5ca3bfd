"""Questions of your own for `study vqa`: FOLDER/train.jsonl and test.jsonl, and the pictures that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coeffdream.checked import converted
from coeffdream.errors import ConfigError
from coeffdream.records.fields import Text
from coeffdream.records.files import read_jsonl
from coeffdream.studies.vqa_questions import Question


@dataclass(frozen=True)
class Row:
    """One line, which may hold more. `image`: a path from the folder. `kind`: of question; accuracies are told by it."""

    image: Text
    question: Text
    answer: Text
    kind: Text = "questions"


def asked_of(folder: Path, split: str, most: int) -> tuple[list[Path], list[Question]]:
    """The first `most` pictures of a split, by their files, and the questions about them.

    Raises ConfigError for a file that is missing, holds no question or a line that is none, RunError for one that is
    no JSON.
    """
    file = folder / f"{split}.jsonl"
    if not file.is_file():
        raise ConfigError(
            f"--data {folder} has no {split}.jsonl; a data set has train.jsonl and test.jsonl, each line with image, "
            "question and answer"
        )
    pictures: dict[Path, int] = {}
    questions = []
    for number, value in enumerate(read_jsonl(file), start=1):
        try:
            row = converted(Row, value)
        except ValueError as problem:
            raise ConfigError(
                f"--data {file}, row {number}: {problem}; each line has image, question and answer"
            ) from None
        path = folder / row.image
        if path not in pictures and len(pictures) == most:
            continue
        picture = pictures.setdefault(path, len(pictures))
        questions.append(Question(row.kind, row.question, row.answer, picture))
    if not questions:
        raise ConfigError(f"--data {file} holds no question; each line has image, question and answer")
    return list(pictures), questions
