"""What every ``Files`` backend promises. A backend's test class inherits all of it and supplies one fixture, ``files``.

Processes that only share the address of the store come with the backends' own tests; here threads compete.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.store.open_store import Files

BAD_KEYS = ["", "/etc/passwd", "../outside", "a/../b", "a//b", "a/", "./a", ".hidden", "a/.hidden/b", "a\\b", "a\0b"]


class FilesConformance:
    """Inherit, and supply the fixture ``files``: an empty store."""

    def test_read_gives_the_bytes_written(self, files: Files) -> None:
        data = bytes(range(256)) * 1000
        files.write("a/b/c.bin", data)
        assert files.read("a/b/c.bin") == data

    def test_an_empty_object_is_an_object(self, files: Files) -> None:
        files.write("empty", b"")
        assert files.exists("empty")
        assert files.read("empty") == b""

    def test_read_of_a_missing_object_is_file_not_found(self, files: Files) -> None:
        with pytest.raises(FileNotFoundError):
            files.read("a/b")
        files.write("a/b/c", b"x")
        with pytest.raises(FileNotFoundError):
            files.read("a/b")
        with pytest.raises(FileNotFoundError):
            files.read("a/b/c/d")

    def test_write_replaces(self, files: Files) -> None:
        files.write("key", b"a longer first content")
        files.write("key", b"second")
        assert files.read("key") == b"second"

    def test_create_keeps_what_is_there(self, files: Files) -> None:
        assert files.create("a/key", b"first")
        assert not files.create("a/key", b"second")
        assert files.read("a/key") == b"first"

    def test_create_works_again_after_delete(self, files: Files) -> None:
        files.create("key", b"first")
        files.delete("key")
        assert files.create("key", b"second")
        assert files.read("key") == b"second"

    def test_replace_takes_the_place_of_what_was_expected_and_of_nothing_else(self, files: Files) -> None:
        assert not files.replace("a/key", b"never there", b"first")
        assert not files.exists("a/key")
        assert files.replace("a/key", None, b"first")
        assert not files.replace("a/key", None, b"second")
        assert not files.replace("a/key", b"another", b"second")
        assert files.read("a/key") == b"first"
        assert files.replace("a/key", b"first", b"second")
        assert not files.replace("a/key", b"first", b"third")
        assert files.read("a/key") == b"second"
        assert files.list() == ["a/key"]

    def test_of_competing_replacers_exactly_one_wins_every_round(self, files: Files) -> None:
        current: bytes | None = None
        for round_number in range(6):
            contents = [f"{round_number} {me} ".encode() * 500 for me in range(6)]
            with ThreadPoolExecutor(6) as pool:
                won = list(pool.map(lambda data, old=current: files.replace("race", old, data), contents))
            assert won.count(True) == 1
            current = contents[won.index(True)]
            assert files.read("race") == current

    def test_nothing_is_lost_where_many_count_by_replace(self, files: Files) -> None:
        files.create("count", b"0")

        def add(_: int) -> int:
            for attempt in range(1, 500):
                old = files.read("count")
                if files.replace("count", old, str(int(old) + 1).encode()):
                    return attempt
            raise AssertionError("never won")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(20)))
        assert files.read("count") == b"20"

    def test_equal_bytes_of_competing_creators_have_one_winner_too(self, files: Files) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda _: files.create("race", b"the same"), range(8)))
        assert won.count(True) == 1

    def test_of_competing_creators_exactly_one_wins(self, files: Files) -> None:
        for round_number in range(5):
            key = f"race/{round_number}"
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(lambda me, key=key: files.create(key, f"{me}".encode() * 5000), range(8)))
            assert won.count(True) == 1
            assert files.read(key) == f"{won.index(True)}".encode() * 5000

    def test_competing_writers_leave_one_whole_object(self, files: Files) -> None:
        contents = [f"{me}".encode() * 20_000 for me in range(6)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda data: files.write("race", data), contents * 3))
        assert files.read("race") in contents
        assert files.list() == ["race"]

    def test_exists_is_about_objects_not_folders(self, files: Files) -> None:
        files.write("a/b/c", b"x")
        assert files.exists("a/b/c")
        assert not files.exists("a/b")
        assert not files.exists("a/b/d")

    def test_list_is_sorted_recursive_and_bounded_by_folder_names(self, files: Files) -> None:
        for key in ("b/2", "b/10", "b/c/d/e", "bb/1", "a", "b.txt"):
            files.write(key, b"x")
        assert files.list("b") == ["b/10", "b/2", "b/c/d/e"]
        assert files.list("b/") == files.list("b")
        assert files.list("b/c") == ["b/c/d/e"]
        assert files.list() == ["a", "b.txt", "b/10", "b/2", "b/c/d/e", "bb/1"]

    def test_many_are_read_in_the_order_asked_for_without_those_that_are_missing(self, files: Files) -> None:
        contents = {f"many/{number}": f"{number}".encode() * number for number in range(40)}
        for key, data in contents.items():
            files.write(key, data)
        asked = [*reversed(contents), "many/none", "many"]
        assert list(files.read_many(asked).items()) == list(reversed(contents.items()))
        assert files.read_many([]) == {}
        assert files.read_many(["many/3", "many/3"]) == {"many/3": b"333"}

    def test_list_of_nothing_is_empty(self, files: Files) -> None:
        assert files.list() == []
        assert files.list("no/such/folder") == []

    def test_a_deleted_object_is_gone_and_deleting_twice_is_no_error(self, files: Files) -> None:
        files.write("a/key", b"x")
        files.delete("a/key")
        assert not files.exists("a/key")
        assert files.list() == []
        files.delete("a/key")
        files.delete("never/was")

    def test_remove_takes_away_what_was_expected_and_nothing_else(self, files: Files) -> None:
        assert not files.remove("a/key", b"never there")
        files.write("a/key", b"second")
        assert not files.remove("a/key", b"first")
        assert not files.remove("a/key/below", b"second")
        assert files.read("a/key") == b"second"
        assert files.remove("a/key", b"second")
        assert files.list() == []
        assert files.create("a/key", b"third")

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_keys_that_climb_hide_or_are_malformed_are_refused(self, files: Files, key: str) -> None:
        calls = [
            lambda: files.read(key),
            lambda: files.write(key, b"x"),
            lambda: files.create(key, b"x"),
            lambda: files.replace(key, None, b"x"),
            lambda: files.replace(key, b"x", b"y"),
            lambda: files.read_many([key]),
            lambda: files.exists(key),
            lambda: files.delete(key),
            lambda: files.remove(key, b"x"),
            lambda: files.local_path(key),
            lambda: files.address(key),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="not a key"):
                call()

    def test_keys_may_have_spaces_dots_and_letters_of_any_script(self, files: Files) -> None:
        for key in ("ESC10.mini.base-to-new.coop+sept/00001.json", "a folder/ein Stück", "a..b"):
            files.write(key, key.encode())
            assert files.read(key) == key.encode()
            assert key in files.list()

    def test_local_path_is_where_the_bytes_are_or_none(self, files: Files) -> None:
        files.write("a/key", b"content")
        path = files.local_path("a/key")
        assert path is None or path.read_bytes() == b"content"

    def test_an_address_ends_with_the_key(self, files: Files) -> None:
        assert files.address("a/key").endswith("/a/key")
        path = files.local_path("a/key")
        assert files.address("a/key") == (
            f"{files.address('a').removesuffix('/a')}/a/key" if path is None else str(path)
        )
