"""Which files of a folder are images."""

import pytest

from edgekit.errors import InputError
from edgekit.listing import list_images, other_suffixes


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_files_behind_links_to_folders_count_once(tmp_path):
    """A subset of a larger set is often made of links; some lead in circles."""
    make(tmp_path, "all/cat/1.jpg", "all/cat/deep/2.PNG", "all/dog/3.jpg", "all/dog/note.txt", "all/.hidden/4.jpg")
    chosen = tmp_path / "chosen"
    make(chosen, "own/5.jpg", "own/.6.jpg")
    (chosen / "cat").symlink_to(tmp_path / "all" / "cat")
    (chosen / "own" / "circle").symlink_to(chosen)
    (chosen / "own" / "7.jpg").symlink_to(tmp_path / "all" / "dog" / "3.jpg")
    names = [path.relative_to(chosen).as_posix() for path in list_images(chosen)]
    assert names == ["cat/1.jpg", "cat/deep/2.PNG", "own/5.jpg", "own/7.jpg"]
    assert other_suffixes(tmp_path / "all") == {".txt": 1}


def test_a_folder_without_images_is_refused(tmp_path):
    make(tmp_path, "a.txt", "broken/b.jpg/c.txt")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="must hold images"):
        list_images(tmp_path)
