"""No password, user or token of an address is said anywhere, and what is no secret is said as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.text import fillable, masked, one_line
from pipeline.tracking import TrackingTarget, default_target
from sept_core.errors import InputError


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("http://me:secret@mlflow:5000/x", "http://mlflow:5000/x"),
        ("http://secret@mlflow", "http://mlflow"),
        ("http://me:se@cret@mlflow", "http://mlflow"),
        ("postgresql+psycopg2://me:se/cret@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        ("postgresql://db/mlflow?user=me&password=secret&x=1", "postgresql://db/mlflow?user=me&password=***&x=1"),
        ("no GET http://me:secret@a/ nor https://secret@b: refused", "no GET http://a/ nor https://b: refused"),
        ("address me:secret@10.0.0.1:6379: refused", "address 10.0.0.1:6379: refused"),
        ("'me:secret@head:1', me:@[::1]:6379", "'head:1', [::1]:6379"),
        ("note: me@work, 12:30 and a: b@c", "note: me@work, 12:30 and a: b@c"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("s3://bucket/a@b and me@work", "s3://bucket/a@b and me@work"),
        ("http://127.0.0.1:5000/#/experiments", "http://127.0.0.1:5000/#/experiments"),
    ],
)
def test_an_address_is_said_without_what_opens_it(said: str, safe: str) -> None:
    assert masked(said) == one_line(said) == safe
    assert TrackingTarget(said, None).shown == safe
    assert "secret" not in fillable(said)


def test_a_command_says_where_a_person_puts_it_in() -> None:
    assert fillable("https://me:secret@mlflow/x") == "https://USER:PASSWORD@mlflow/x"
    assert fillable("postgresql://db/m?password=secret") == "postgresql://db/m?password=PASSWORD"
    assert fillable("http://mlflow:5000") == "http://mlflow:5000"


def test_an_error_is_one_line_even_where_it_is_long_or_says_nothing() -> None:
    assert one_line(OSError("a\n  b\x1b[31m")) == "a b?[31m"
    assert one_line(TimeoutError()) == "TimeoutError"
    assert one_line("") == ""
    # Masked before it is cut: half a password is one too.
    assert one_line("x" * 280 + " http://me:secret-and-long@host/") == "x" * 280 + " http://host/"


@pytest.mark.parametrize("uri", ["ftp://me:secret@host", "me:secret@host:5000", "http://me:sec ret-secret@host"])
def test_a_tracking_uri_that_is_refused_is_not_said_with_its_password(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        default_target(tmp_path, uri)
    assert "secret" not in str(caught.value)
