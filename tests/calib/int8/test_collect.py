"""Which pictures a set is made of, what is asked about them, and what the folder says of where they came from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import pytest

from calib.choice import Distinct, Picture, distinct, spread
from calib.int8 import main
from calib.picture_set import PictureSet
from calib.sources import Candidate, candidates
from edge_vla.calibration import read_tables
from edge_vla.errors import ConfigError

LEVELS = [10, 60, 110, 160, 210, 250]


def named(count: int, source: str) -> tuple[Picture, ...]:
    """Pictures without pixels, in order of time."""
    return tuple(Picture(Candidate(Path(f"{k}.png"), f"{source}/{k}"), b"", f"{source}{k}") for k in range(count))


def order(chosen: list[Picture]) -> list[tuple[str, int]]:
    return [(source, int(k)) for source, k in (picture.candidate.source.split("/") for picture in chosen)]


# -- where pictures come from


def test_a_run_gives_the_frames_it_asked_about_with_what_it_asked(make_run) -> None:
    found = candidates(make_run("a-run", LEVELS[:3], target="ball"))
    assert [(candidate.source, candidate.prompt) for candidate in found] == [
        (f"a-run/frames/{seq:06d}.jpg", "detect ball") for seq in (0, 3, 6)
    ]
    assert all(candidate.path.is_file() for candidate in found)


def test_images_are_taken_in_the_order_of_their_numbers(make_images) -> None:
    folder = make_images("pictures", [20 * k for k in range(12)])
    (folder / "notes.txt").write_text("none")
    (folder / "day2").mkdir()
    cv2.imwrite(str(folder / "day2" / "A.JPG"), cv2.imread(str(folder / "frame0.png")))
    found = [candidate.source for candidate in candidates(folder)]
    assert found == ["pictures/day2/A.JPG", *(f"pictures/frame{k}.png" for k in range(12))]
    assert all(candidate.prompt is None for candidate in candidates(folder))


def test_a_room_that_is_held_out_is_refused(make_run) -> None:
    assert candidates(make_run("trained", LEVELS, seed=999_999))
    with pytest.raises(ConfigError, match=r"held was run in room 1000000: rooms from 1000000 on are held out"):
        candidates(make_run("held", LEVELS, seed=1_000_000))
    with pytest.raises(ConfigError, match=r"run in room one"):
        candidates(make_run("odd", LEVELS, seed="one"))
    broken = make_run("broken", LEVELS)
    (broken / "truth.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"truth\.json: want the simulator's verdict"):
        candidates(broken)


def test_what_holds_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none is no folder"):
        candidates(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"holds no picture"):
        candidates(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"run\.json: schema None"):
        candidates(tmp_path)


# -- which of them


def test_what_shows_the_same_again_is_left_out(make_images) -> None:
    """The same bytes wherever they are, and what looks like the picture before in the same source."""
    one, two = make_images("one", [50, 51, 52, 80, 50]), make_images("two", [50, 120])
    found = distinct([candidates(one), candidates(two)])
    kept = [[picture.candidate.source for picture in source] for source in found.sources]
    assert kept == [["one/frame0.png", "one/frame2.png", "one/frame3.png"], ["two/frame1.png"]]
    assert found.repeated == 3


def test_one_picture_is_taken_from_each_stretch_of_time() -> None:
    found = Distinct((named(100, "a"),), 0)
    chosen = [k for _, k in order(spread(found, 10, seed=3))]
    assert [k // 10 for k in chosen] == list(range(10))


def test_sources_share_by_size_and_none_gives_more_than_it_has() -> None:
    found = Distinct((named(3, "a"), named(90, "b"), named(7, "c")), 0)
    chosen = order(spread(found, 20, seed=0))
    assert [sum(source == name for source, _ in chosen) for name in "abc"] == [1, 18, 1]
    assert len(spread(found, 100, seed=0)) == 100
    assert sorted(order(spread(found, 100, seed=0))) == [(s, k) for s, n in (("a", 3), ("b", 90), ("c", 7)) for k in range(n)]


def test_the_seed_decides() -> None:
    found = Distinct((named(50, "a"), named(50, "b")), 0)
    assert order(spread(found, 10, 1)) == order(spread(found, 10, 1))
    assert order(spread(found, 10, 1)) != order(spread(found, 10, 2))


@pytest.mark.parametrize("count", [0, -1, 11])
def test_more_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=rf"--count {count}: want 1 to 10, the pictures that differ \(4 repeat another one\)"):
        spread(Distinct((named(10, "a"),), 4), count, 0)


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_a_file_that_is_no_picture_is_named(make_images, data: bytes) -> None:
    folder = make_images("pictures", LEVELS)
    (folder / "frame1.png").write_bytes(data)
    with pytest.raises(ConfigError, match=rf"frame1\.png: {len(data)} bytes that are no picture"):
        distinct([candidates(folder)])


# -- the set


def test_a_set_says_where_everything_came_from(make_run, make_images, tmp_path: Path, capsys) -> None:
    run, images = make_run("run-7", LEVELS), make_images("photos", [5, 90, 175])
    out = tmp_path / "sets" / "one"
    main(["collect", str(run), str(images), "--out", str(out), "--count", "6", "--seed", "4", "--prompt", "describe", "--prompt", "drive"])
    listed = read_tables(out / "set.toml", "int8_set")
    assert (listed["kind"], listed["seed"], listed["seen"], listed["repeated"], listed["count"], listed["questions"]) == (
        "int8_set", 4, 9, 0, 6, 10,
    )  # fmt: skip
    assert {"edge_vla", "opencv"} <= set(listed["versions"])
    for k, item in enumerate(listed["pictures"]):
        data = (out / item["file"]).read_bytes()
        assert item["file"].startswith(f"pictures/{k:06d}.")
        assert hashlib.sha256(data).hexdigest() == item["sha256"]
        assert (tmp_path / item["source"]).read_bytes() == data
        added = ["describe", "drive"][k % 2]
        assert item["prompts"] == (["detect cup", added] if item["source"].startswith("run-7/frames/") else [added])
    assert [item["source"].split("/")[0] for item in listed["pictures"]] == ["run-7"] * 4 + ["photos"] * 2
    assert "6 of 9 pictures (0 repeat another), 10 questions" in capsys.readouterr().out
    read = PictureSet(out)
    assert read.sha256 == hashlib.sha256((out / "set.toml").read_bytes()).hexdigest()
    assert (read.frame(read.listed.pictures[0], 5).rgb == cv2.imread(str(out / "pictures/000000.jpg"))[..., ::-1]).all()


def test_a_picture_comes_back_in_its_own_colours(small_set) -> None:
    red, blue, _ = (small_set.frame(item, k) for k, item in enumerate(small_set.listed.pictures))
    assert [tuple(frame.rgb[0, 0].tolist()) for frame in (red, blue)] == [(255, 0, 0), (0, 0, 255)]
    assert (blue.seq, blue.rgb.shape) == (1, (32, 64, 3))


def test_what_a_run_asked_is_not_asked_twice(make_run, tmp_path: Path) -> None:
    main(["collect", str(make_run("run", LEVELS, target="cup")), "--out", str(tmp_path / "set"), "--prompt", "detect cup"])
    assert {tuple(item.prompts) for item in PictureSet(tmp_path / "set").listed.pictures} == {("detect cup",)}


def test_the_same_seed_makes_the_same_set(make_images, tmp_path: Path) -> None:
    images = make_images("photos", list(range(0, 250, 5)))

    def pictures(name: str, seed: str) -> list[dict]:
        main(["collect", str(images), "--out", str(tmp_path / name), "--count", "8", "--seed", seed, "--prompt", "drive"])
        found: list[dict] = read_tables(tmp_path / name / "set.toml", "int8_set")["pictures"]
        return found

    assert pictures("one", "1") == pictures("again", "1")
    assert pictures("other", "2") != pictures("more", "1")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], r"nobody asked anything about photos/frame0\.png: add questions"),
        (["--prompt", "drive", "--seed", "-1"], r"--seed -1: want 0 or more"),
        (["--prompt", "drive", "--count", "7"], r"--count 7: want 1 to 6"),
    ],
)
def test_a_set_that_cannot_be_made_leaves_nothing(make_images, tmp_path: Path, more: list[str], message: str) -> None:
    images = make_images("photos", LEVELS)
    with pytest.raises(ConfigError, match=message):
        main(["collect", str(images), "--out", str(tmp_path / "set"), *more])
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}


def test_a_folder_named_twice_is_refused(make_images, tmp_path: Path) -> None:
    images = make_images("photos", LEVELS)
    with pytest.raises(ConfigError, match=r"a folder is named twice"):
        main(["collect", str(images), f"{images}/../photos", "--out", str(tmp_path / "set"), "--prompt", "drive"])


def test_a_set_is_never_written_over(make_images, tmp_path: Path) -> None:
    images = make_images("photos", LEVELS)
    words = ["collect", str(images), "--out", str(tmp_path / "set"), "--prompt", "drive"]
    main(words)
    with pytest.raises(ConfigError, match=r"set exists already: name a new folder"):
        main(words)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*file/set: "):
        main([*words[:3], str(tmp_path / "file" / "set"), *words[4:]])


def test_a_set_that_was_changed_is_refused(small_set) -> None:
    folder = small_set.folder
    (folder / "pictures/000001.png").write_bytes((folder / "pictures/000000.png").read_bytes())
    with pytest.raises(ConfigError, match=r"000001\.png is not the picture that set\.toml lists"):
        PictureSet(folder)
    (folder / "pictures/000001.png").unlink()
    with pytest.raises(ConfigError, match=r"000001\.png: No such file or directory; collect the set again"):
        PictureSet(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("count = 3", "count = 4", r"count = 4, but the pictures listed make 3"),
        ("questions = 5", "questions = 6", r"questions = 6, but the pictures listed make 5"),
        ('"pictures/000000.png"', '"../000000.png"', r"pictures\.0\.file: String should match pattern"),
        ('kind = "int8_set"', 'kind = "camera"', r"kind = 'camera', want 'int8_set'"),
    ],
)
def test_a_listing_that_contradicts_itself_is_refused(small_set, old: str, new: str, message: str) -> None:
    path = small_set.folder / "set.toml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        PictureSet(small_set.folder)


def test_what_is_no_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set\.toml: No such file or directory; `python -m calib int8` writes it"):
        PictureSet(tmp_path)
