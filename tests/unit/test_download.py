"""Downloads that break off and go on, and unpacking a part of a zip file."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ssc.data import download as module
from ssc.data.download import download, extract
from ssc.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEMBERS = "Train_Sets/MR/*/T2SPIR/*"


class Server(ThreadingHTTPServer):
    """Serves CONTENT, but breaks off each answer after the next number of bytes in ``limits``."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.limits: list[int] = []
        self.ranges: list[str] = []
        self.obeys_range = True
        self.status: int | None = None
        self.address = f"http://127.0.0.1:{self.server_port}/archive.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers["Range"])
        if self.server.status:
            return self.send_error(self.server.status)
        start = 0
        if self.server.obeys_range:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        limit = self.server.limits.pop(0) if self.server.limits else len(CONTENT)
        self.wfile.write(CONTENT[start : start + limit])

    def log_message(self, *_):
        """Keeps the tests' output quiet."""


@pytest.fixture
def server(monkeypatch):
    """A running server; pauses between attempts take no time."""
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_download_in_one_go(server, tmp_path):
    file = tmp_path / "raw" / "archive.zip"
    download(server.address, file, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert list(file.parent.iterdir()) == [file]
    assert server.ranges == ["bytes=0-"]


def test_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.limits = [100_000, 50_000]
    file = tmp_path / "archive.zip"
    download(server.address, file, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert server.ranges == ["bytes=0-", "bytes=100000-", "bytes=150000-"]


def test_later_call_goes_on_with_the_part(server, tmp_path):
    file = tmp_path / "archive.zip"
    (tmp_path / "archive.zip.part").write_bytes(CONTENT[:123_456])
    download(server.address, file, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert server.ranges == ["bytes=123456-"]


def test_whole_part_needs_no_server(tmp_path):
    (tmp_path / "archive.zip.part").write_bytes(CONTENT)
    download("http://127.0.0.1:9/archive.zip", tmp_path / "archive.zip", len(CONTENT), SHA256)
    assert (tmp_path / "archive.zip").read_bytes() == CONTENT


def test_file_that_is_there_is_checked_and_kept(tmp_path):
    file = tmp_path / "archive.zip"
    file.write_bytes(CONTENT)
    download("http://127.0.0.1:9/archive.zip", file, len(CONTENT), SHA256)
    file.write_bytes(CONTENT[1:])
    with pytest.raises(DataError, match=r"archive.zip: size is 299999, expected 300000"):
        download("http://127.0.0.1:9/archive.zip", file, len(CONTENT), SHA256)
    assert file.exists()


def test_server_that_ignores_the_range(server, tmp_path):
    server.obeys_range = False
    server.limits = [100_000]
    download(server.address, tmp_path / "archive.zip", len(CONTENT), SHA256)
    assert (tmp_path / "archive.zip").read_bytes() == CONTENT
    assert server.ranges == ["bytes=0-", "bytes=100000-"]


def test_server_that_ignores_the_range_and_always_breaks_off(server, tmp_path):
    server.obeys_range = False
    server.limits = [100_000] * 50
    with pytest.raises(DataError, match=r"stopped at 100,000 of 300,000 bytes"):
        download(server.address, tmp_path / "archive.zip", len(CONTENT), SHA256)
    assert len(server.ranges) == 1 + module.ATTEMPTS


def test_wrong_hash(server, tmp_path):
    with pytest.raises(DataError, match=rf"SHA-256 is {SHA256}, expected {'0' * 64}"):
        download(server.address, tmp_path / "archive.zip", len(CONTENT), "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_wrong_size(server, tmp_path):
    with pytest.raises(DataError, match=r"size is 300000, expected 299000"):
        download(server.address, tmp_path / "archive.zip", 299_000, SHA256)
    assert list(tmp_path.iterdir()) == []


def test_server_that_fails_each_time(server, tmp_path):
    server.status = 503
    (tmp_path / "archive.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"stopped at 1,000 of 300,000 bytes \(HTTP 503\)"):
        download(server.address, tmp_path / "archive.zip", len(CONTENT), SHA256)
    assert len(server.ranges) == module.ATTEMPTS
    assert (tmp_path / "archive.zip.part").read_bytes() == CONTENT[:1000]


def test_file_that_the_server_does_not_have(server, tmp_path):
    server.status = 404
    with pytest.raises(DataError, match=r"HTTP 404"):
        download(server.address, tmp_path / "archive.zip", len(CONTENT), SHA256)
    assert len(server.ranges) == 1


def zip_file(tmp_path, *names):
    file = tmp_path / "archive.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return file


def test_extract_takes_only_what_is_needed(tmp_path):
    wanted = "Train_Sets/MR/1/T2SPIR/DICOM_anon/a.dcm", "Train_Sets/MR/1/T2SPIR/Ground/a.png"
    file = zip_file(tmp_path, *wanted, "Train_Sets/MR/1/T1DUAL/Ground/a.png", "Train_Sets/CT/1/Ground/a.png")
    extract(file, tmp_path / "chaos", MEMBERS)
    found = {path.relative_to(tmp_path / "chaos").as_posix() for path in tmp_path.rglob("*.*") if path != file}
    assert found == set(wanted)
    assert (tmp_path / "chaos" / wanted[0]).read_text("utf-8") == f"content of {wanted[0]}"


def test_extract_starts_anew_after_a_kill(tmp_path):
    file = zip_file(tmp_path, "Train_Sets/MR/1/T2SPIR/Ground/a.png")
    (tmp_path / "chaos.part").mkdir()
    (tmp_path / "chaos.part" / "left over").touch()
    extract(file, tmp_path / "chaos", MEMBERS)
    assert [path.name for path in (tmp_path / "chaos").iterdir()] == ["Train_Sets"]


@pytest.mark.parametrize("name", ["Train_Sets/MR/../../../T2SPIR/a", "Train_Sets/MR/1/T2SPIR/..\\..\\a"])
def test_extract_refuses_names_that_lead_outside(tmp_path, name):
    with pytest.raises(DataError, match=r"leads out of the folder, expected"):
        extract(zip_file(tmp_path, name), tmp_path / "chaos", MEMBERS)
    assert not (tmp_path / "chaos").exists()


def test_extract_needs_such_members(tmp_path):
    with pytest.raises(DataError, match=r"archive.zip: no Train_Sets/MR/.* inside, expected"):
        extract(zip_file(tmp_path, "readme.txt"), tmp_path / "chaos", MEMBERS)


def test_extract_keeps_a_filled_folder(tmp_path):
    (tmp_path / "chaos").mkdir()
    (tmp_path / "chaos" / "mine").touch()
    with pytest.raises(DataError, match=r"chaos: holds files already, expected"):
        extract(zip_file(tmp_path, "Train_Sets/MR/1/T2SPIR/Ground/a.png"), tmp_path / "chaos", MEMBERS)


def test_extract_of_a_damaged_file(tmp_path):
    file = zip_file(tmp_path, "Train_Sets/MR/1/T2SPIR/Ground/a.png")
    file.write_bytes(file.read_bytes().replace(b"content", b"CONTENT"))
    with pytest.raises(DataError, match=r"archive.zip: can't be read as zip .*, expected a whole one"):
        extract(file, tmp_path / "chaos", MEMBERS)
    assert not (tmp_path / "chaos").exists()
