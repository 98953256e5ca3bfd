"""Pictures of any other tool, and the traps that loading them sets."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from coeffdream.errors import ConceptError, ScoreError
from coeffdream.metrics.evaluate import evaluate_folder, evaluate_run
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import pictures_of_folder
from coeffdream.metrics.prompt_table import read_prompt_table
from coeffdream.records.scores import read_scores


@pytest.fixture
def peer(tmp_path, draw):
    """Two prompts with two pictures each, named by a CSV; and three photos of the concept."""
    for folder, count in (("peer", 4), ("cat2", 3)):
        (tmp_path / folder).mkdir()
        for index in range(count):
            draw((60 * index, 90, 160), seed=index).save(tmp_path / folder / f"{index}.png")
    rows = ["2.png,a <V> CLASS on the beach", "0.png,a cat in the snow", "1.png,a cat in the snow"]
    (tmp_path / "table.csv").write_text("\n".join(["file,prompt", *rows, "3.png,a <V> CLASS on the beach\n"]))
    return tmp_path


def score(peer, encoders, cache, **options):
    given = {"prompts": peer / "table.csv", "references": peer / "cat2"}
    return evaluate_folder(peer / "peer", **(given | options), encoders=encoders, cache=cache)


def test_a_csv_maps_names_to_prompts(peer, tiny_encoders, cache):
    """Prompts are numbered as they first appear, and <V> and CLASS are understood."""
    record = score(peer, tiny_encoders, cache, output=peer / "out" / "scores.json")
    assert [(p.prompt_index, p.text, p.n) for p in record.per_prompt] == [
        (0, "a cat on the beach", 2),
        (1, "a cat in the snow", 2),
    ]
    assert [image.file for image in record.per_image] == ["2.png", "3.png", "0.png", "1.png"]
    assert (record.overall.n, record.overall.references, record.ceiling.n) == (4, 3, 3)
    assert read_scores(peer / "out" / "scores.json") == record


def test_subfolders_name_the_prompts(peer, tiny_encoders, cache):
    """One folder a prompt gives the scores of the CSV; a name that contains another is not mixed up with it."""
    for file, prompt in (
        ("2", "a_cat_on_the_beach"),
        ("3", "a_cat_on_the_beach"),
        ("0", "a_cat"),
        ("1", "a_cat"),
    ):
        folder = peer / "sorted" / prompt
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(peer / "peer" / f"{file}.png", folder)
    record = evaluate_folder(peer / "sorted", references=peer / "cat2", encoders=tiny_encoders, cache=cache)
    assert [(prompt.text, prompt.n) for prompt in record.per_prompt] == [
        ("a cat", 2),
        ("a cat on the beach", 2),
    ]
    by_table = score(peer, tiny_encoders, cache)
    assert record.overall.diversity == pytest.approx(by_table.overall.diversity, abs=1e-9)
    assert record.per_prompt[1].text_alignment == pytest.approx(
        by_table.per_prompt[0].text_alignment, abs=1e-9
    )


def test_the_ruler_is_the_one_that_runs_get(make, tiny_encoders, cache, tmp_path):
    """The same pictures score the same, whoever drew them: that is what the command is for."""
    run = make.run()
    own = make.set(run)
    lines = [f"{row.file},{row.prompt}" for row in own.read_images()]
    (tmp_path / "table.csv").write_text("\n".join(["file,prompt", *lines]))
    peers = evaluate_folder(
        own.path,
        prompts=tmp_path / "table.csv",
        references=tmp_path / "photos",
        class_noun="cat",
        encoders=tiny_encoders,
        cache=cache,
    )
    ours = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert peers.overall == ours.overall
    assert peers.ceiling == ours.ceiling
    assert peers.set.texts_sha256 == ours.set.texts_sha256
    assert peers.set.seeds_sha256 is None  # another tool's seeds are not known, so nothing can be paired


def test_unequal_counts_are_said(peer, tiny_encoders, cache):
    """A prompt with fewer pictures weighs less; that is told, not hidden."""
    table = peer / "table.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert "from 1 to 2 pictures" in score(peer, tiny_encoders, cache).warnings[0]


def test_without_photos_only_text_and_diversity_are_scored(peer, tiny_encoders, cache):
    """References are optional; the class noun then has to be said."""
    record = score(peer, tiny_encoders, cache, references=None, class_noun="cat")
    assert record.overall.concept_alignment is None
    assert record.overall.text_alignment is not None
    with pytest.raises(ScoreError, match="--class NOUN"):
        score(peer, tiny_encoders, cache, references=None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has the columns"),
        ("name,prompt\n0.png,a cat", "has the columns"),
        ("file,prompt\n", "names no picture"),
        (
            "file,prompt\n0.png,a cat\n9.png,a cat\n8.png,a cat",
            r"2 problems\n.*line 3.*9\.png' does not exist.*\n.*line 4",
        ),
        ("file,prompt\n0.png,a cat\n0.png,a dog", r"line 3 names '0\.png' again"),
        ("file,prompt\n0.png,", "line 2 lacks the prompt"),
        ("file,prompt\n,a cat", "line 2 lacks the file"),
        ("file,prompt\n../cat2/0.png,a cat", "lies outside"),
        ("file,prompt\n0.png", "line 2 lacks the prompt"),
    ],
)
def test_tables_that_do_not_fit_are_refused(peer, tiny_encoders, cache, text, says):
    """Every row that is wrong is named by its line."""
    (peer / "table.csv").write_text(text)
    with pytest.raises(ScoreError, match=says):
        score(peer, tiny_encoders, cache)


def test_tables_that_are_not_text_are_refused(peer, tiny_encoders, cache):
    """A spreadsheet's own format, or no file at all, is one line."""
    (peer / "table.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ScoreError, match="line 1 is not UTF-8 text"):
        score(peer, tiny_encoders, cache)
    with pytest.raises(ScoreError, match="cannot be read"):
        score(peer, tiny_encoders, cache, prompts=peer / "gone.csv")


def test_a_spreadsheets_byte_order_mark_is_no_column(peer, tiny_encoders, cache):
    """Excel writes one before the first column's name."""
    table = peer / "table.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert score(peer, tiny_encoders, cache).overall.n == 4


def test_lines_may_end_as_on_any_system(peer):
    """A spreadsheet writes CR LF, an old Mac CR alone; a prompt in quotes may itself hold a line break."""
    for end in ("\n", "\r\n", "\r"):
        (peer / "table.csv").write_bytes(f'file,prompt{end}0.png,"a{end}cat"{end}1.png,a dog'.encode())
        assert read_prompt_table(peer / "table.csv", peer / "peer") == [
            ("0.png", f"a{end}cat"),
            ("1.png", "a dog"),
        ]


def test_folders_without_pictures_are_refused(peer, tiny_encoders, cache, tmp_path):
    """No folder, or none with pictures under a prompt's name."""
    with pytest.raises(ScoreError, match="is not a folder"):
        evaluate_folder(peer / "gone", class_noun="cat", encoders=tiny_encoders, cache=cache)
    with pytest.raises(ScoreError, match="no subfolders with pictures"):
        evaluate_folder(peer / "peer", class_noun="cat", encoders=tiny_encoders, cache=cache)
    with pytest.raises(ConceptError):
        score(peer, tiny_encoders, cache, references=peer / "gone")


def saved_upright(image: Image.Image, path) -> None:
    image.save(path)


def saved_turned(image: Image.Image, path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to show
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def saved_on_transparent(image: Image.Image, path) -> None:
    layer = image.convert("RGBA")
    clear = Image.new("RGBA", image.size, (0, 0, 0, 0))
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (8, 8, 40, 40))
    clear.paste(layer, mask=mask)
    clear.save(path)


def saved_on_white(image: Image.Image, path) -> None:
    white = Image.new("RGB", image.size, "white")
    white.paste(image.crop((8, 8, 40, 40)), (8, 8))
    white.save(path)


def saved_16_bit(image: Image.Image, path) -> None:
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def saved_grey(image: Image.Image, path) -> None:
    image.convert("L").convert("RGB").save(path)


def saved_palette(image: Image.Image, path) -> None:
    image.quantize(16).save(path)


def saved_16_colours(image: Image.Image, path) -> None:
    image.quantize(16).convert("RGB").save(path)


@pytest.mark.parametrize(
    ("as_found", "as_seen"),
    [
        (saved_turned, saved_upright),
        (saved_on_transparent, saved_on_white),
        (saved_16_bit, saved_grey),
        (saved_palette, saved_16_colours),
    ],
    ids=["EXIF orientation", "RGBA on white", "16-bit", "palette"],
)
def test_a_picture_scores_as_it_is_seen(peer, tiny_encoders, cache, draw, as_found, as_seen):
    """How a file stores its pixels must not matter: each pair shows the same picture to a person."""
    image = draw((20, 200, 90), seed=3)
    image.paste((250, 250, 10), (0, 0, 48, 12))  # a top that tells which way is up
    scores = []
    for save in (as_found, as_seen):
        save(image, peer / "peer" / "3.png")
        scores.append(score(peer, tiny_encoders, cache).per_image[1])
    assert scores[0].sha256 != scores[1].sha256
    assert scores[0].text_alignment == pytest.approx(scores[1].text_alignment, abs=1e-6)
    np.testing.assert_allclose(scores[0].dino_by_reference, scores[1].dino_by_reference, atol=1e-6)


def test_a_cmyk_jpeg_is_scored_in_its_colours(peer, tiny_encoders, cache, draw):
    """Four channels fed as three, or inverted, would be another picture."""
    image = Image.new("RGB", (48, 48), (20, 200, 90))
    found = []
    for mode in ("CMYK", "RGB"):
        image.convert(mode).save(peer / "peer" / "3.jpg", quality=100, subsampling=0)
        (peer / "table.csv").write_text("file,prompt\n3.jpg,a cat")
        found.append(score(peer, tiny_encoders, cache).per_image[0].text_alignment)
    inverted = Image.new("RGB", (48, 48), (235, 55, 165))
    inverted.save(peer / "peer" / "3.jpg", quality=100)
    other = score(peer, tiny_encoders, cache).per_image[0].text_alignment
    assert abs(found[0] - found[1]) < 0.1 * abs(other - found[1])


def test_recompression_is_another_picture(make, tiny_encoders, cache, peer, draw):
    """JPEG at quality 95 moves pixels by a fraction of a level: close, but never taken from the cache as equal."""
    draw((20, 200, 90), seed=3).save(peer / "peer" / "3.jpg", quality=95)
    table = peer / "table.csv"
    png = score(peer, tiny_encoders, cache).per_image[1]
    table.write_text(table.read_text().replace("3.png", "3.jpg"))
    jpeg = score(peer, tiny_encoders, cache).per_image[1]
    assert jpeg.sha256 != png.sha256
    assert jpeg.dino_by_reference != png.dino_by_reference


class TestWhatElseLiesThere:
    """Only the pictures of prompts count, and what is not counted is said."""

    @pytest.fixture
    def sorted_pictures(self, peer):
        """One folder a prompt, as other tools leave them."""
        for prompt, names in (("a cat", "01"), ("a_cat_on_sand", "23")):
            (peer / "made" / prompt).mkdir(parents=True)
            for name in names:
                shutil.copy(peer / "peer" / f"{name}.png", peer / "made" / prompt)
        return peer / "made"

    @pytest.fixture
    def named(self, sorted_pictures):
        """(pictures by file, what is told)."""

        def found():
            pictures, told = pictures_of_folder(
                sorted_pictures, None, score_text="class", class_noun="cat", token="sks"
            )
            return [picture.file for picture in pictures], told

        return found

    @pytest.mark.parametrize("junk", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".thumbnails", ".git"])
    def test_folders_of_tools_are_no_prompts(self, junk, sorted_pictures, named):
        """Notebooks, archives and disk stations put pictures of their own beside ours."""
        (sorted_pictures / junk / "0.png").mkdir(parents=True)
        shutil.copy(sorted_pictures / "a cat" / "0.png", sorted_pictures / junk / "1.png")
        files, told = named()
        assert len(files) == 4
        assert told == []

    @pytest.mark.parametrize(
        "lost",
        ["loose.png", "a cat/seed1/x.png", "a cat/x.svg", "a cat/x.gif", "a cat/notes.txt", "a cat/d.png/"],
    )
    def test_what_is_left_out_is_said(self, lost, sorted_pictures, named):
        """So that n is what the person thinks it is."""
        path = sorted_pictures / lost
        if lost.endswith("/"):
            path.mkdir()
        else:
            path.parent.mkdir(exist_ok=True)
            shutil.copy(sorted_pictures / "a cat" / "0.png", path)
        files, [told] = named()
        assert len(files) == 4
        assert told.startswith("not scored: ")
        assert lost.split("/")[1 if "/" in lost else 0] in told

    def test_hundreds_left_out_are_ten_and_a_count(self, sorted_pictures, named):
        """A message, not a list."""
        for number in range(300):
            (sorted_pictures / f"{number}.txt").touch()
        _, [told] = named()
        assert "and 290 more" in told

    def test_the_record_keeps_it(self, sorted_pictures, tiny_encoders, cache):
        """Whoever reads the scores later sees what was not scored."""
        shutil.copy(sorted_pictures / "a cat" / "0.png", sorted_pictures / "loose.png")
        record = evaluate_folder(sorted_pictures, class_noun="cat", encoders=tiny_encoders, cache=cache)
        assert record.overall.n == 4
        assert any("loose.png" in warning for warning in record.warnings)

    @pytest.mark.skipif(sys.platform != "linux", reason="Windows and macOS have Unicode names only")
    def test_names_that_are_not_utf8(self, sorted_pictures, named):
        """A prompt that cannot be read is asked for, before anything is encoded."""
        (sorted_pictures / "a cat").rename(sorted_pictures / os.fsdecode(b"un \xe9t\xe9"))
        with pytest.raises(ScoreError, match=r"'un \\udce9t\\udce9/0\.png' is not UTF-8 text; rename"):
            named()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"file,prompt\n0.png,a\0cat\n", "line 2 holds NUL bytes"),
        (b"file,prompt\n" + b"x" * 300 + b".png,a cat\n", "does not exist"),
        (b"file,prompt\n" + b"x" * 9000 + b".png,a cat\n", "does not exist|lies outside"),
        (b'file,prompt\n"' + b"x" * 200_000 + b'",a cat\n', "cannot be read"),
        (b"x" * 100_000, "has the columns"),
        (b"file,prompt\n" + b"\n".join(b"%d.jpg,a" % n for n in range(1000)), "and 990 more"),
    ],
    ids=["NUL", "long name", "longer than a path", "endless field", "no columns", "thousand rows"],
)
def test_tables_of_any_bytes(content, says, peer):
    """Each is told in a few lines, however long what came in."""
    (peer / "table.csv").write_bytes(content)
    with pytest.raises(ScoreError, match=says) as caught:
        read_prompt_table(peer / "table.csv", peer / "peer")
    assert len(str(caught.value)) < 3000


@given(some.binary(max_size=200) | some.text(max_size=100).map(lambda text: f"file,prompt\n{text}".encode()))
@settings(max_examples=150)
def test_any_table_is_read_or_refused(tmp_path_factory, content):
    """No bytes make it raise anything but ScoreError."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with pytest.raises(ScoreError):  # none of its files is there
        read_prompt_table(path, path.parent / "nowhere")


def test_what_was_cached_before_changes_no_digit(peer, tiny_encoders, tmp_path, monkeypatch):
    """Scores of a set of which some pictures were encoded in an earlier eval are the very same numbers."""
    for encoder in (tiny_encoders.clip, tiny_encoders.dino):
        monkeypatch.setattr(encoder, "images", of_the_shape(encoder.images))
    table = (peer / "table.csv").read_text().splitlines(keepends=True)
    (peer / "some.csv").write_text("".join(table[:3]))
    options = {"references": peer / "cat2", "class_noun": "cat", "encoders": tiny_encoders}
    fresh, used = FeatureCache(tmp_path / "fresh"), FeatureCache(tmp_path / "used")
    whole = evaluate_folder(peer / "peer", prompts=peer / "table.csv", cache=fresh, **options)
    evaluate_folder(peer / "peer", prompts=peer / "some.csv", cache=used, **options)
    partly = evaluate_folder(peer / "peer", prompts=peer / "table.csv", cache=used, **options)
    assert partly.overall == whole.overall
    assert partly.per_image == whole.per_image


def of_the_shape(encode):
    """Features that depend on the size of the batch, as the last digits of every matrix product do."""

    def encoded(images):
        return encode(images) * (1 + 0.01 * len(images)) + len(images)

    return encoded
