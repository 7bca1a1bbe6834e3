"""What the store asks of a bucket: no more permissions than the policy names, and encryption where it is wished."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_fixtures import SEAWEEDFS
from s3_server import BUCKET, raw_client
from small_embeddings import fill, read

from pipeline.store import StoreError, TrialStore, open_files
from pipeline.store.fetch import fetch
from pipeline.store.s3_client import s3_connection
from pipeline.store.trials import trial_key
from sept_core.errors import InputError

INFRA = Path(__file__).parents[3] / "infra"
# What AWS checks for an operation, by its "Actions defined by Amazon S3".
ACTIONS = {
    "GetObject": {"s3:GetObject"},
    "HeadObject": {"s3:GetObject"},
    "PutObject": {"s3:PutObject"},
    "DeleteObject": {"s3:DeleteObject"},
    "ListObjectsV2": {"s3:ListBucket"},
}


@pytest.fixture
def asked(s3_root: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """(operation, parameters) of every request that the connection of this process makes."""
    seen: list[tuple[str, dict[str, Any]]] = []
    events = s3_connection().client.meta.events

    def note(model: Any, params: dict[str, Any], **_: Any) -> None:
        seen.append((model.name, params))

    # The parameters as they were given; the request has them encoded.
    events.register("provide-client-params.s3", note)
    yield seen
    events.unregister("provide-client-params.s3", note)


def use_everything(root: str) -> None:
    """Every method of the store, and all that builds upon them."""
    files = open_files(root)
    files.write("sweeps/a", b"1")
    assert files.create("sweeps/b", b"1")
    assert not files.create("sweeps/b", b"2")
    assert files.replace("sweeps/b", b"1", b"2")
    assert files.exists("sweeps/a")
    assert files.read("sweeps/a") == b"1"
    assert files.read_many(["sweeps/a", "sweeps/none"]) == {"sweeps/a": b"1"}
    assert files.list() == ["sweeps/a", "sweeps/b"]
    assert files.list("sweeps") == ["sweeps/a", "sweeps/b"]
    files.delete("sweeps/a")
    fill(root)
    read(root)
    fetch(f"{root}/sweeps/b")
    fetch(f"{root}/sweeps")
    # A damaged trial, which is moved aside.
    files.write(trial_key("study", "abcdef0123456789", "result.json"), b"{")
    assert TrialStore(files).read_result("study", "abcdef0123456789") is None


def granted(policy: dict[str, Any]) -> set[str]:
    actions: set[str] = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        stated = statement["Action"]
        actions |= {stated} if isinstance(stated, str) else set(stated)
    return actions


def test_the_policy_grants_exactly_what_is_asked_for(s3_root: str, asked: list[tuple[str, dict[str, Any]]]) -> None:
    prefix = s3_root.removeprefix(f"s3://{BUCKET}/")
    text = (INFRA / "s3-policy.json").read_text(encoding="utf-8")
    policy = json.loads(text.replace("BUCKET", BUCKET).replace("PREFIX", prefix))
    use_everything(s3_root)
    operations = {operation for operation, _ in asked}
    assert operations <= set(ACTIONS), "an operation whose permission this test does not know"
    assert granted(policy) == set().union(*(ACTIONS[operation] for operation in operations))
    listing, objects = policy["Statement"]
    for operation, given in asked:
        assert given["Bucket"] == BUCKET
        if operation == "ListObjectsV2":
            assert f"arn:aws:s3:::{BUCKET}" == listing["Resource"]
            assert fnmatch.fnmatchcase(given["Prefix"], listing["Condition"]["StringLike"]["s3:prefix"]), given
        else:
            assert fnmatch.fnmatchcase(f"arn:aws:s3:::{BUCKET}/{given['Key']}", objects["Resource"]), given


def test_a_server_takes_the_lifecycle(s3_root: str, s3_endpoint: str) -> None:
    text = (INFRA / "s3-lifecycle.json").read_text(encoding="utf-8")
    rules = json.loads(text.replace("PREFIX", "results"))
    client = raw_client(s3_endpoint)
    client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=rules)
    aborts, expires = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    client.delete_bucket_lifecycle(Bucket=BUCKET)
    assert aborts["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert "Expiration" not in aborts
    assert expires["Expiration"] == {"Days": 90}
    assert expires["Filter"] == {"Prefix": "results/quarantine/"}


def test_only_what_was_moved_aside_expires(s3_root: str) -> None:
    use_everything(s3_root)
    (aside,) = (key for key in open_files(s3_root).list() if key.startswith("quarantine/"))
    expires = json.loads((INFRA / "s3-lifecycle.json").read_text(encoding="utf-8"))["Rules"][1]
    assert f"PREFIX/{aside}".startswith(expires["Filter"]["Prefix"])


class TestEncryption:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, (None, None)),
            ({"SEPT_S3_SSE": "AES256"}, ("AES256", None)),
            ({"SEPT_S3_SSE": "aws:kms", "SEPT_S3_KMS_KEY": "alias/sept"}, ("aws:kms", "alias/sept")),
        ],
    )
    def test_every_put_asks_for_it(
        self,
        s3_root: str,
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
        settings: dict[str, str],
        expected: tuple[str | None, str | None],
    ) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        asked = request.getfixturevalue("asked")
        use_everything(s3_root)
        puts = [given for operation, given in asked if operation == "PutObject"]
        assert len(puts) > 6
        assert {(put.get("ServerSideEncryption"), put.get("SSEKMSKeyId")) for put in puts} == {expected}

    def test_the_server_keeps_it_so(self, s3_root: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEPT_S3_SSE", "aws:kms")
        open_files(s3_root).write("a", b"1")
        head = raw_client(s3_endpoint).head_object(Bucket=BUCKET, Key=f"{s3_root}/a".removeprefix(f"s3://{BUCKET}/"))
        assert head["ServerSideEncryption"] == "aws:kms"

    @SEAWEEDFS
    def test_a_server_that_cannot_encrypt_is_not_taken_for_a_busy_one(
        self, s3_root: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SeaweedFS without a key answers as if it were failing."""
        monkeypatch.setenv("SEPT_S3_SSE", "AES256")
        monkeypatch.setenv("SEPT_S3_PATIENCE_S", "0")
        with pytest.raises(StoreError, match="if that does not help, unset SEPT_S3_SSE: the server may not"):
            open_files(s3_root).write("a", b"1")

    @pytest.mark.parametrize(
        ("settings", "line"),
        [
            ({"SEPT_S3_SSE": "aes"}, "SEPT_S3_SSE is 'aes'; give AES256 or aws:kms, or leave it out"),
            ({"SEPT_S3_SSE": "AES256", "SEPT_S3_KMS_KEY": "k"}, "SEPT_S3_KMS_KEY names a key that nothing uses; set"),
            ({"SEPT_S3_KMS_KEY": "k"}, "SEPT_S3_KMS_KEY names a key that nothing uses; set SEPT_S3_SSE=aws:kms"),
        ],
    )
    def test_what_cannot_be_is_one_line(
        self, s3_root: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], line: str
    ) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError) as error:
            open_files(s3_root)
        assert str(error.value).startswith(line)
