"""A concept folder as a person leaves it: what is used, what is refused, what is only remarked on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from coeffdream.data.concept import Concept, load_concept
from coeffdream.errors import ConceptError, PromptError
from coeffdream.records.files import sha256_of_file

DREAMBOOTH = Path(__file__).parents[2].parent / "shared/data/dreambooth"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder called grey_cat2 with two photos, a.png (64 x 48) and b.JPG (100 x 200)."""
    folder = tmp_path / "grey_cat2"
    folder.mkdir()
    photo(folder / "b.JPG", (100, 200), "blue")
    photo(folder / "a.png", (64, 48), "red")
    return folder


def photo(path: Path, size: tuple[int, int] = (64, 64), colour: str = "green") -> None:
    Image.new("RGB", size, colour).save(path)


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(ConceptError) as caught:
        # mypy holds the mapping against each keyword in turn.
        load_concept(folder, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_plain_folder(folder: Path) -> None:
    """Photos come in the order of their names, with size, hash and caption; the name gives the class."""
    concept = load_concept(folder)
    assert (concept.name, concept.folder) == ("grey_cat2", folder)
    assert (concept.class_noun, concept.class_source, concept.live) == ("grey cat", "folder name", True)
    assert [image.path.name for image in concept.images] == ["a.png", "b.JPG"]
    assert [(image.width, image.height) for image in concept.images] == [(64, 48), (100, 200)]
    assert concept.images[0].sha256 == sha256_of_file(folder / "a.png")
    assert {image.caption for image in concept.images} == {"a photo of <V> grey cat"}


def test_a_class_of_several_words_that_a_folder_gave_is_doubted(folder: Path, tmp_path: Path) -> None:
    """ "a photo of <V> my cat" teaches nothing; what a person wrote as the class is not doubted, nor a single word."""
    [warning] = load_concept(folder).warnings
    assert "'grey cat' is from the folder's name" in warning
    assert "--class cat" in warning
    assert load_concept(folder, class_noun="grey cat").warnings == ()
    (folder / "concept.toml").write_text('class = "grey cat"')
    assert load_concept(folder).warnings == ()
    (folder / "concept.toml").unlink()
    assert load_concept(folder.rename(tmp_path / "cat2")).warnings == ()


@pytest.mark.parametrize(
    ("name", "noun"),
    [("cat", "cat"), ("cat2", "cat"), ("duck_toy", "duck toy"), ("dog_07", "dog"), ("Teapot-3", "Teapot")],
)
def test_class_noun_of_a_folder_name(tmp_path: Path, name: str, noun: str) -> None:
    """DreamBooth's folder names, and the usual ways to number folders."""
    (tmp_path / name).mkdir()
    photo(tmp_path / name / "a.png")
    assert load_concept(tmp_path / name).class_noun == noun


def test_class_noun_of_a_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--concept .` takes the real folder's name."""
    monkeypatch.chdir(folder)
    assert load_concept(Path()).class_noun == "grey cat"


def test_option_beats_file_beats_name(folder: Path) -> None:
    """The three sources of the class noun, in their order, each named."""
    (folder / "concept.toml").write_text('class = "tabby  cat"\n')
    concept = load_concept(folder)
    assert (concept.class_noun, concept.class_source) == ("tabby cat", "concept.toml")
    concept = load_concept(folder, class_noun="lion")
    assert (concept.class_noun, concept.class_source) == ("lion", "--class")


def test_live_is_said_or_judged(folder: Path) -> None:
    """concept.toml settles what the word list cannot know."""
    assert load_concept(folder, class_noun="vase").live is False
    (folder / "concept.toml").write_text("live = true\n")
    assert load_concept(folder, class_noun="vase").live is True
    (folder / "concept.toml").write_text("live = false\n")
    assert load_concept(folder).live is False


@pytest.mark.parametrize("noun", ["", "   ", "<V> cat", "CLASS"])
def test_class_noun_must_be_words(folder: Path, noun: str) -> None:
    """An empty noun or one with placeholders would spoil every caption."""
    assert "--class cat" in refusal(folder, class_noun=noun)


def test_a_name_of_digits_gives_no_noun(tmp_path: Path) -> None:
    """A folder called 2024 asks for --class."""
    (tmp_path / "2024").mkdir()
    photo(tmp_path / "2024/a.png")
    assert "folder name" in refusal(tmp_path / "2024")
    assert load_concept(tmp_path / "2024", class_noun="cat").class_noun == "cat"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('klass = "cat"', "unknown key 'klass'; the keys are class and live"),
        ("class = 3", "class is 3; it must be text"),
        ('live = "yes"', "live is 'yes'; it must be true or false"),
        ("live = 1", "live is 1; it must be true or false"),
        ("class = cat", "is not valid TOML"),
        ("a = " + "[" * 100_000, "is not valid TOML"),
    ],
)
def test_settings_are_checked(folder: Path, toml: str, says: str) -> None:
    """A misspelt key must not vanish, a wrong type must not reach training."""
    (folder / "concept.toml").write_text(toml)
    message = refusal(folder)
    assert says in message
    assert "concept.toml" in message
    assert "\n" not in message


def test_settings_of_another_encoding(folder: Path) -> None:
    """A concept.toml in Latin-1 is refused by name."""
    (folder / "concept.toml").write_bytes('class = "Bär"'.encode("latin-1"))
    assert "concept.toml, line 1 is not UTF-8 text" in refusal(folder)


def test_captions_beside_photos(folder: Path) -> None:
    """A caption file belongs to the photo of its name and no other; the rest get the template."""
    (folder / "b.txt").write_text("\ufeffa <V> CLASS\n on a sofa \n", encoding="utf-8")
    first, second = load_concept(folder, caption_template="picture of <V>").images
    assert (first.caption, second.caption) == ("picture of <V>", "a <V> grey cat on a sofa")


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        (b"a sofa with a cat", "lacks <V>: 'a sofa with a cat' would not teach it"),
        (b"a &lt;V&gt; cat", "it has '&lt;V&gt;'"),
        (b"  \n", "is an empty caption"),
        (b"\xff\xfea\0", "is UTF-16, not UTF-8 text"),
    ],
)
def test_captions_are_checked(folder: Path, caption: bytes, says: str) -> None:
    """A caption that would not teach the concept is named."""
    (folder / "a.txt").write_bytes(caption)
    message = refusal(folder)
    assert says in message
    assert "a.txt" in message


def test_caption_template_needs_the_placeholder(folder: Path) -> None:
    """Captions without <V> would train nothing that a prompt could call up."""
    with pytest.raises(PromptError, match="lacks <V>"):
        load_concept(folder, caption_template="a photo of a cat")


def test_all_problems_are_reported_together(folder: Path) -> None:
    """One run of the command shows everything that needs repair, one line each."""
    (folder / "notes.jpg").write_text("not an image\n" * 9)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    photo(folder / "icon.png", (16, 16))
    (folder / "icon.txt").write_text("an icon")
    (folder / "new.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "concept.toml").write_text("clas = 1")
    lines = refusal(folder, class_noun=" ").splitlines()
    assert lines[0] == f"{folder} cannot be learned from: 7 problems"
    for part in (
        "'clas'",
        "--class",
        "new.HEIC",
        "cut.png",
        "icon.txt",
        "icon.png: 16 x 16",
        "notes.jpg is a text",
    ):
        assert sum(part in line for line in lines[1:]) == 1, part
    assert len(lines) == 8


def test_one_problem_is_one_line(folder: Path) -> None:
    """The common case stays a single line."""
    photo(folder / "icon.png", (16, 16))
    assert "\n" not in refusal(folder)


def test_missing_folder_and_file(folder: Path) -> None:
    """A wrong path is told apart from a photo given in place of its folder."""
    assert "does not exist" in refusal(folder / "nowhere")
    assert "is a file; give the folder" in refusal(folder / "a.png")


def test_empty_folders(tmp_path: Path) -> None:
    """Hidden files and a caption do not make a concept."""
    assert "is empty" in refusal(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "concept.toml").write_text('class = "cat"')
    assert "is empty" in refusal(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    message = refusal(tmp_path)
    assert "holds no photos (there: notes.md)" in message
    assert ".jpg" in message


def test_a_folder_of_concepts(folder: Path) -> None:
    """Naming the folder above the right one is answered with the right one."""
    message = refusal(folder.parent)
    assert "grey_cat2" in message
    assert "give one of those" in message


def test_what_is_ignored_and_what_is_remarked(folder: Path) -> None:
    """Leavings of systems pass in silence; files that a person may have meant are named."""
    for junk in (".hidden.jpg", "Thumbs.db", ".DS_Store", "desktop.ini", "a.xmp"):
        (folder / junk).write_bytes(b"x")
    assert load_concept(folder, class_noun="cat").warnings == ()
    (folder / "notes.md").write_text("x")
    (folder / "c.txt").write_text("a <V> cat")
    (folder / "more.jpg").mkdir()
    concept = load_concept(folder, class_noun="cat")
    assert len(concept.images) == 2
    assert [line.split()[0] for line in concept.warnings] == ["c.txt", "more.jpg", "notes.md"]


def test_duplicates_are_remarked(folder: Path) -> None:
    """A photo twice weighs double, which is seldom meant."""
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    assert load_concept(folder, class_noun="cat").warnings == (
        "copy.png is the same photo as a.png and counts twice",
    )


def test_many_photos_are_remarked(tmp_path: Path) -> None:
    """Fifty photos pass, fifty-one are remarked on: a whole album was probably not meant."""
    for number in range(50):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.bmp")
    assert load_concept(tmp_path, class_noun="cat").warnings == ()
    photo(tmp_path / "more.png")
    assert "51 photos" in load_concept(tmp_path, class_noun="cat").warnings[0]


def test_smaller_than(folder: Path) -> None:
    """The shorter side counts."""

    def names(concept: Concept, resolution: int) -> list[str]:
        return [image.path.name for image in concept.smaller_than(resolution)]

    concept = load_concept(folder)
    assert names(concept, 48) == []
    assert names(concept, 49) == ["a.png"]
    assert names(concept, 101) == ["a.png", "b.JPG"]


def test_sizes_are_of_the_upright_photo(folder: Path) -> None:
    """Width and height follow EXIF, so that the size conditioning is true."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(folder / "c.jpg", exif=exif)
    assert [(image.width, image.height) for image in load_concept(folder).images][-1] == (40, 80)


@pytest.mark.skipif(not DREAMBOOTH.is_dir(), reason="needs DreamBooth's photos in shared/data/dreambooth")
def test_real_folders() -> None:
    """Two of DreamBooth's own concepts, one of each kind."""
    dog, toy = load_concept(DREAMBOOTH / "dog"), load_concept(DREAMBOOTH / "duck_toy")
    assert (dog.class_noun, dog.live, len(dog.images), dog.warnings) == ("dog", True, 5, ())
    assert (toy.class_noun, toy.live, len(toy.images)) == ("duck toy", False, 4)
    assert "--class toy" in toy.warnings[0]


def test_importing_the_room_is_cheap() -> None:
    """`--help` may import these modules: neither Pillow nor NumPy nor torch comes with them."""
    code = (
        "import sys, coeffdream.data.concept, coeffdream.data.prompts, coeffdream.data.images\n"
        "print([name for name in ('PIL', 'numpy', 'torch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


class TestFoldersAsPeopleHaveThem:
    """Names, links and numbers of files that no one planned for."""

    @pytest.mark.parametrize("name", ["b.jpg", "a.txt", "concept.toml"])
    def test_links_are_not_followed_out_of_the_folder(self, folder: Path, tmp_path: Path, name: str) -> None:
        """A caption linked to /etc/shadow would be printed, and learned."""
        secret = tmp_path / "secret"
        photo(tmp_path / "secret.png")
        secret.write_text("<V> root:hash") if name != "b.jpg" else (tmp_path / "secret.png").rename(secret)
        (folder / name).symlink_to(secret)
        message = refusal(folder)
        assert f"{name} is a link that leads out of the folder" in message
        assert "root:hash" not in message

    def test_links_within_the_folder_are_followed(self, folder: Path) -> None:
        """One photo under two names is only remarked on, as a copy is."""
        (folder / "c.png").symlink_to("a.png")
        assert len(load_concept(folder).images) == 3

    def test_the_folder_itself_may_be_a_link(self, folder: Path, tmp_path: Path) -> None:
        """Its photos are where it leads."""
        (tmp_path / "kitten").symlink_to(folder)
        assert len(load_concept(tmp_path / "kitten").images) == 2

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
    def test_names_that_are_not_utf8(self, folder: Path, tmp_path: Path) -> None:
        """Out of old archives: named as what they are, before anything is trained that could not be recorded."""
        odd = os.fsdecode(b"caf\xe9.png")
        shutil.copy(folder / "a.png", folder / odd)
        message = refusal(folder)
        assert r"'caf\udce9.png' is not UTF-8 text; rename the file" in message
        message.encode()
        (folder / odd).unlink()
        folder.rename(tmp_path / os.fsdecode(b"chat-\xe9t\xe9"))
        assert "the folder's name" in refusal(tmp_path / os.fsdecode(b"chat-\xe9t\xe9"), class_noun="cat")

    def test_a_line_end_in_the_folders_name(self, folder: Path, tmp_path: Path) -> None:
        """The run and its contact sheets are named after it."""
        folder.rename(tmp_path / "odd\n\x1bcat")
        assert load_concept(tmp_path / "odd\n\x1bcat", class_noun="cat").name == "odd cat"

    @pytest.mark.parametrize("name", ["10_sks cat", "1_ohwx cat"])
    def test_folders_prepared_for_kohya(self, tmp_path: Path, name: str) -> None:
        """Repeats, token and class: the class is read, the others are told; never a photo of a 10 sks cat."""
        (tmp_path / name).mkdir()
        photo(tmp_path / name / "a.png")
        concept = load_concept(tmp_path / name)
        assert concept.class_noun == "cat"
        [warning] = concept.warnings
        assert f"{name.partition('_')[0]} repeats" in warning
        assert f"--token {name.split('_')[1].split()[0]}" in warning

    @pytest.mark.parametrize("name", ["10_jennifer aniston person", "10_sks", "5_a b c", "3_"])
    def test_kohya_names_that_do_not_tell_the_class(self, tmp_path: Path, name: str) -> None:
        """Asked for by name, and taken from --class."""
        (tmp_path / name).mkdir()
        photo(tmp_path / name / "a.png")
        message = refusal(tmp_path / name)
        assert name in message
        assert "--class cat" in message
        assert load_concept(tmp_path / name, class_noun="person").class_noun == "person"

    def test_the_folder_above_one_of_kohya_names_it(self, tmp_path: Path) -> None:
        """`--concept img` is answered with the folder that holds the photos."""
        (tmp_path / "img" / "10_sks cat").mkdir(parents=True)
        photo(tmp_path / "img" / "10_sks cat" / "a.png")
        assert "folders that do (10_sks cat); give one of those" in refusal(tmp_path / "img")

    def test_leavings_of_disk_stations_and_notebooks(self, folder: Path) -> None:
        """Not looked into, and not worth a word."""
        for junk in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "#recycle", "lost+found"):
            (folder / junk).mkdir()
            photo(folder / junk / "a.png")
        assert load_concept(folder, class_noun="cat").warnings == ()

    def test_more_photos_than_one_concept_has(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An album given by mistake is told before it is decoded, with the way to mean it."""
        monkeypatch.setattr("coeffdream.data.concept.MOST_PHOTOS", 1)
        message = refusal(folder)
        assert "holds 2 photos, above the limit of 1" in message
        assert "COEFFDREAM_MAX_PHOTOS=2" in message
        monkeypatch.setenv("COEFFDREAM_MAX_PHOTOS", "2")
        assert len(load_concept(folder).images) == 2
        monkeypatch.setenv("COEFFDREAM_MAX_PHOTOS", "many")
        assert "COEFFDREAM_MAX_PHOTOS is 'many'" in refusal(folder)

    def test_a_hundred_problems_are_ten_and_a_count(self, folder: Path) -> None:
        """A folder of broken photos fills no terminal."""
        for number in range(100):
            (folder / f"{number}.jpg").write_bytes(b"")
        message = refusal(folder)
        assert message.startswith(f"{folder} cannot be learned from: 100 problems")
        assert len(message.splitlines()) == 12

    def test_a_caption_of_a_megabyte_is_not_repeated(self, folder: Path) -> None:
        """Eighty characters of it are enough to find it."""
        (folder / "a.txt").write_text("cat " * 250_000)
        assert len(refusal(folder)) < 600
        (folder / "a.txt").write_text("<V> cat " * 1_000_000)
        assert "above the limit of 4,194,304" in refusal(folder)

    def test_a_caption_that_is_a_pipe(self, folder: Path) -> None:
        """Not waited for."""
        os.mkfifo(folder / "a.txt")
        assert "a.txt is a pipe, not a file" in refusal(folder)
