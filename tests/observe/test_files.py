from __future__ import annotations

from pathlib import Path

from penstock.observe.files import RotatingFile


def test_a_full_file_is_renamed_and_the_oldest_goes(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log", max_bytes=10, kept=2)

    for number in range(5):
        file.write(b"line %d\n" % number)

    assert (tmp_path / "a.log").read_bytes() == b"line 4\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"line 3\n"
    assert (tmp_path / "a.log.2").read_bytes() == b"line 2\n"
    assert len(list(tmp_path.iterdir())) == 3
    file.close()


def test_two_writers_lose_no_line_at_a_rotation(tmp_path: Path) -> None:
    """Two servers on one data folder append to one file."""
    path = tmp_path / "a.log"
    writers = [RotatingFile(path, max_bytes=64, kept=99) for _ in range(2)]

    for number in range(40):
        writers[number % 2].write(b"line %02d\n" % number)

    written = b"".join(found.read_bytes() for found in tmp_path.iterdir())
    assert sorted(written.splitlines()) == [b"line %02d" % number for number in range(40)]
    for writer in writers:
        writer.close()


def test_a_file_that_another_just_renamed_is_not_renamed_again(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log", max_bytes=10)
    file.write(b"line 1\n")

    file._rotate(inode=0)

    assert [found.name for found in tmp_path.iterdir()] == ["a.log"]
    file.close()


def test_a_file_taken_away_is_made_again(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log")
    file.write(b"one\n")
    (tmp_path / "a.log").unlink()

    file.write(b"two\n")

    assert (tmp_path / "a.log").read_bytes() == b"two\n"
    file.close()


def test_a_line_that_cannot_be_written_is_counted_not_raised(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    file = RotatingFile(tmp_path / "logs" / "a.log")

    file.write(b"one\n")

    assert file.lost == 1


def test_a_log_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log")
    file.write(b"one\n")

    assert (tmp_path / "a.log").stat().st_mode & 0o077 == 0
    file.close()
