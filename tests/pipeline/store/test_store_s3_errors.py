"""What a server refuses, and what cannot be connected to: one clear line each."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from s3_faults import Proxy
from s3_fixtures import BOTH_SERVERS
from s3_stores import impatient

from pipeline.store import Files, StoreAway, StoreError, open_files
from sept_core.errors import InputError


@pytest.fixture
def files(s3_root: str) -> Files:
    return open_files(s3_root)


class TestErrors:
    """One clear line, in bounded time, without anything secret."""

    @BOTH_SERVERS
    def test_a_bucket_that_is_not_there(self, s3_root: str) -> None:
        files = open_files("s3://no-such-bucket/x")
        for call in (
            files.list,
            lambda: files.read("a"),
            lambda: files.write("a", b""),
            lambda: files.create("a", b""),
        ):
            with pytest.raises(
                StoreError, match="no such bucket; check the name, or create the bucket first"
            ) as refusal:
                call()
            assert "\n" not in str(refusal.value)

    def test_a_server_that_is_not_there(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:secret@127.0.0.1:{port}")
        files = open_files(s3_root)
        started = time.monotonic()
        with pytest.raises(StoreError, match=rf"127\.0\.0\.1:{port} cannot be reached; check the network") as refusal:
            files.read("key")
        assert time.monotonic() - started < 30
        assert "secret" not in str(refusal.value)

    def test_a_server_that_accepts_and_says_nothing(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            started = time.monotonic()
            for call in (lambda files: files.read("key"), lambda files: files.create("key", b"x")):
                with pytest.raises(StoreError, match="does not answer"):
                    call(impatient(s3_root))
            assert time.monotonic() - started < 15

    def test_no_credentials(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(StoreError, match="no AWS credentials found; set AWS_ACCESS_KEY_ID"):
            open_files(s3_root).list()

    def test_half_of_the_credentials(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises((StoreError, InputError), match="AWS_") as refusal:
            open_files(s3_root).list()
        assert "testing" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("status", "code", "line"),
        [
            (403, "AccessDenied", "permission denied; the credentials need s3:ListBucket"),
            (403, "InvalidAccessKeyId", "credentials are not accepted; check AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "credentials are not accepted"),
            (400, "ExpiredToken", "have expired; renew them"),
            (501, "NotImplemented", "use one with conditional writes"),
            (503, "SlowDown", "overloaded or failing"),
            (418, "Teapot", "Teapot"),
        ],
    )
    def test_refusals_of_the_server(self, s3_root: str, proxy: Proxy, status: int, code: str, line: str) -> None:
        proxy.answer = status, code
        files = impatient(s3_root)
        for call in (
            lambda: files.write("a", b""),
            lambda: files.read("a"),
            files.list,
            lambda: files.create("a", b""),
        ):
            with pytest.raises(StoreError, match=line) as refusal:
                call()
            assert "\n" not in str(refusal.value)
            assert "testing" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("status", "code", "line"),
        [
            (400, "ExpiredToken", "have expired; renew them"),
            (403, "InvalidAccessKeyId", "credentials are not accepted; check AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "credentials are not accepted; check AWS_ACCESS_KEY_ID"),
            (403, "RequestTimeTooSkewed", "this machine's clock is wrong; set it"),
        ],
    )
    def test_credentials_that_were_good_end_with_what_passes(
        self, s3_root: str, proxy: Proxy, status: int, code: str, line: str
    ) -> None:
        files = impatient(s3_root, patience_s=60.0)
        files.write("a", b"before")
        proxy.answer = status, code
        for call in (
            lambda: files.write("a", b""),
            lambda: files.read("a"),
            files.list,
            lambda: files.create("a", b""),
            # Its answer has no body that could say why.
            lambda: files.exists("a"),
        ):
            with pytest.raises(StoreAway, match=line) as refusal:
                call()
            assert str(refusal.value).count("run the same command again") == 1
        proxy.answer = None
        assert files.read("a") == b"before"

    def test_credentials_that_never_were_good_do_not(self, s3_root: str, proxy: Proxy) -> None:
        proxy.answer = 403, "InvalidAccessKeyId"
        files = impatient(s3_root)
        for _ in range(2):
            with pytest.raises(StoreError, match="not accepted") as refusal:
                files.list()
            assert not refusal.value.resumable
        # Those have been good somewhere, whatever this process knows.
        proxy.answer = 400, "ExpiredToken"
        with pytest.raises(StoreAway, match="have expired"):
            files.exists("a")
        # A worker whose driver was let in.
        proxy.answer = 403, "InvalidAccessKeyId"
        with pytest.raises(StoreAway, match="not accepted"):
            open_files(s3_root, known=True).list()

    def test_a_login_that_ends_passes_too(self, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = '{"Version": 1, "AccessKeyId": "testing", "SecretAccessKey": "testing", "SessionToken": "t", '
        keys += f'"Expiration": "{datetime.now(UTC) + timedelta(seconds=60):%Y-%m-%dT%H:%M:%SZ}"}}'
        (tmp_path / "keys").write_text(keys)
        config = tmp_path / "config"
        config.write_text(f"[profile team]\ncredential_process = cat {tmp_path / 'keys'}\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "team")
        files = impatient(s3_root)
        assert not files.exists("a")
        # They are renewed before they end, which is not possible from now on; past their end there are none.
        (tmp_path / "keys").unlink()
        credentials = files._client._request_signer._credentials
        monkeypatch.setattr(credentials, "_expiry_time", datetime.now(UTC) - timedelta(seconds=1))
        with pytest.raises(StoreAway, match="'team' could not get its credentials; run what .*, then run the same"):
            files.exists("a")

    def test_permission_is_told_where_the_answer_has_no_words(self, s3_root: str, proxy: Proxy) -> None:
        proxy.answer = 403, "AccessDenied"
        with pytest.raises(StoreError, match="permission denied"):
            open_files(s3_root).exists("a")

    def test_a_profile_that_is_not_there(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(InputError, match=r"nobody.*check AWS_PROFILE"):
            open_files(s3_root)

    @pytest.mark.parametrize(
        ("environment", "says"),
        [
            ({"AWS_PROFILE": "team"}, "profile 'team' is not logged in, or .*; aws sso login --profile team, and run"),
            ({"AWS_PROFILE": "empty"}, "profile 'empty' holds no credentials; log in: aws sso login --profile empty"),
            ({"AWS_PROFILE": "taem"}, r"have no profile 'taem'; check AWS_PROFILE; did you mean 'team'\?"),
            ({"AWS_PROFILE": "program"}, "profile 'program' could not get its credentials; run what ~/.aws/config"),
            ({"AWS_PROFILE": "loop"}, 'source_profile "nosuch".*; check AWS_PROFILE, AWS_CONFIG_FILE, ~/.aws/config'),
            ({"AWS_ACCESS_KEY_ID": "abc"}, "credentials lack AWS_SECRET_ACCESS_KEY; set it as well as the other one"),
            ({}, "no AWS credentials found; set AWS_ACCESS_KEY_ID"),
        ],
        ids=["not logged in", "empty", "misspelt", "program", "loop", "half", "none"],
    )
    def test_advice_is_about_where_the_credentials_come_from(
        self, tmp_path: Path, s3_root: str, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
    ) -> None:
        config = tmp_path / "config"
        config.write_text(
            "[profile team]\nsso_session = my\nsso_account_id = 1\nsso_role_name = x\n"
            "[sso-session my]\nsso_start_url = https://example.com/start\nsso_region = us-east-1\n"
            "[profile empty]\nregion = us-east-1\n"
            "[profile program]\ncredential_process = sh -c 'echo hidden >&2; exit 1'\n"
            "[profile loop]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = nosuch\n"
        )
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises((StoreError, InputError), match=says) as refusal:
            open_files(s3_root).list()
        assert "hidden" not in str(refusal.value)

    def test_denied_without_credentials_is_not_answered_with_permissions(
        self, s3_root: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEPT_S3_ANONYMOUS", "1")
        proxy.answer = 403, "AccessDenied"
        with pytest.raises(StoreError, match="the bucket is not public: unset SEPT_S3_ANONYMOUS"):
            open_files(s3_root).list()

    def test_an_endpoint_that_is_no_address(self, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "user:secret@host")
        with pytest.raises(InputError, match="the endpoint is no address; check AWS_ENDPOINT_URL") as refusal:
            open_files(s3_root)
        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize(
        "address",
        ["s3://", "s3:///x", "s3://b", "s3://under score!/x", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/.x"],
    )
    def test_addresses_that_cannot_be(self, address: str) -> None:
        with pytest.raises(InputError, match=r"give s3://BUCKET or s3://BUCKET/PREFIX"):
            open_files(address)
