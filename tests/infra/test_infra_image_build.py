"""infra/Dockerfile built for real with buildah, which needs no container engine, and the quickstart run in it.

    pytest tests/infra/test_infra_image_build.py -m long -s     # 3 GB from PyPI, 15 GB of disk, half an hour

The base is made of Debian's packages, for which no image registry is needed; SEPT_IMAGE_BASE names another one.
SEPT_IMAGE_DEVICE is the Dockerfile's DEVICE (cpu-pypi), SEPT_IMAGE_STORE a folder that keeps the layers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEVICE = os.environ.get("SEPT_IMAGE_DEVICE", "cpu-pypi")
BASE = os.environ.get("SEPT_IMAGE_BASE")
DEBIAN = ("--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm")
NEEDED = ("buildah", "unshare", "setpriv", *(() if BASE else ("debootstrap",)))
MISSING = [name for name in NEEDED if shutil.which(name) is None]
# Says with which invalidation mode every module is compiled: 3 is by a hash of the source, not by its time.
COMPILED = """
import pathlib, sysconfig
files = list(pathlib.Path(sysconfig.get_paths()["purelib"]).rglob("*.pyc"))
print(len(files), {int.from_bytes(file.read_bytes()[4:8], "little") for file in files})
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a build in a chroot, and a base made by debootstrap, need root"),
]


class Builder:
    """buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("store", "run", "tmp"):
            (folder / name).mkdir(exist_ok=True)
        self._environment = os.environ | {"TMPDIR": str(folder / "tmp"), "BUILDAH_ISOLATION": "chroot"}

    def command(self, *words: str) -> list[str]:
        return ["buildah", "--root", str(self._folder / "store"), "--runroot", str(self._folder / "run"), *words]

    def start(self, *words: str, **how: object) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(*words), env=self._environment, text=True, **how)  # type: ignore[call-overload]

    def __call__(self, *words: str) -> str:
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = process.communicate()[0]
        assert process.returncode == 0, f"buildah {' '.join(words)}\n{said[-4000:]}"
        return said.strip()

    def base(self) -> str:
        """Debian with Python, and with the certificates and the package index that this machine's pip uses."""
        files = self._folder / "base"
        system = files / "rootfs"
        subprocess.run(["debootstrap", *DEBIAN, system], check=True, stdout=subprocess.DEVNULL)
        trusted = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
        shutil.copy(trusted, system / "etc/ssl/certs/ca-certificates.crt")
        options = ["cert = /etc/ssl/certs/ca-certificates.crt", "timeout = 180"]
        if "PIP_INDEX_URL" in os.environ:
            options.append(f"index-url = {os.environ['PIP_INDEX_URL']}")
        (system / "etc/pip.conf").write_text("\n".join(["[global]", *options, ""]))
        (files / "Dockerfile").write_text('FROM scratch\nADD rootfs /\nCMD ["bash"]\n')
        self("bud", "--tag", "sept-base", str(files))
        shutil.rmtree(files)
        return "localhost/sept-base"

    def build(self, base: str, tag: str, *options: str) -> str:
        recipe = ("--file", str(ROOT / "infra/Dockerfile"), "--ignorefile", str(ROOT / "infra/Dockerfile.dockerignore"))
        arguments = ("--build-arg", f"BASE={base}", "--build-arg", f"DEVICE={DEVICE}", "--timestamp", "1767225600")
        self("bud", "--layers", *options, *recipe, *arguments, "--tag", tag, str(ROOT))
        return f"localhost/{tag}"

    def layers(self, image: str) -> list[str]:
        return json.loads(self("inspect", "--type", "image", image))["OCIv1"]["rootfs"]["diff_ids"]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    kept = os.environ.get("SEPT_IMAGE_STORE")
    made = Builder(Path(kept) if kept else tmp_path_factory.mktemp("image"))
    yield made
    if not kept:
        made("rm", "--all")
        made("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def base(builder: Builder) -> str:
    return BASE or builder.base()


@pytest.fixture(scope="module")
def image(builder: Builder, base: str) -> str:
    started = time.monotonic()
    image = builder.build(base, f"sept-sweep:{DEVICE}")
    size = json.loads(builder("images", "--json", image))[0]["size"]
    print(f"\n{image}: {size}, built in {time.monotonic() - started:.0f} s")
    return image


@pytest.fixture
def container(builder: Builder, image: str) -> Iterator[str]:
    name = builder("from", "--pull-never", image).splitlines()[-1]
    yield name
    builder("rm", name)


def test_it_is_whole_and_not_root(builder: Builder, container: str) -> None:
    assert builder("run", container, "--", "id", "-u") == "1000"
    assert builder("run", container, "--", "sept", "--version").startswith("sept ")
    assert " 0 red" in builder("run", container, "--", "sept", "doctor")
    number, modes = builder("run", container, "--", "python", "-c", COMPILED).split(" ", 1)
    assert int(number) > 10_000
    assert modes == "{3}"


def test_any_other_user_can_work_in_it(builder: Builder, container: str) -> None:
    said = builder("run", "--user", "4242:4242", container, "--", "sept", "doctor")
    assert " 0 red" in said
    assert "/home/sept/.cache/sept-sweep" in said


def test_the_quickstart_runs_to_its_end(builder: Builder, container: str) -> None:
    said = builder("run", container, "--", "sept", "quickstart")
    print(said[said.rindex("Took ") :].splitlines()[0])
    report = "/home/sept/sept-runs/sweeps/quickstart/report/report.html"
    assert builder("run", container, "--", "head", "-c", "15", report) == "<!DOCTYPE html>"


def test_term_to_process_1_stops_a_sweep_that_can_go_on(builder: Builder, container: str, tmp_path: Path) -> None:
    log = tmp_path / "said"
    alone = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    user = ("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "env", f"OF_TEST={tmp_path}")
    started = ("tini", "--", "sept", "quickstart", "--root", "/tmp/stopped")
    options = ("--user", "root", "--cap-add", "CAP_SYS_ADMIN")
    with log.open("w") as out:
        process = builder.start("run", *options, container, "--", *alone, *user, *started, stdout=out, stderr=out)
        while "of 34 trials" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(1)
        os.kill(_process_1(f"OF_TEST={tmp_path}"), 15)
        process.wait(300)
    assert "exit status 75" in log.read_text()
    assert "the same command resumes it" in log.read_text()


def _process_1(mark: str) -> int:
    """The process with this in its environment that is number 1 in a namespace of its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            numbers = (folder / "status").read_text().split("NSpid:")[1].splitlines()[0].split()
            if (
                len(numbers) > 1
                and numbers[-1] == "1"
                and mark.encode() in (folder / "environ").read_bytes().split(b"\0")
            ):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("no process 1")


def test_a_second_build_is_equal(builder: Builder, base: str, image: str) -> None:
    again = builder.build(base, "sept-sweep:again", "--no-cache")
    assert builder.layers(again) == builder.layers(image)
