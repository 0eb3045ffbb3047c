"""A server that speaks S3's protocol (moto's), one for each test process, and buckets on it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from tests.support.servers import free_port
from zeitwork import ids
from zeitwork.blob_places import S3Place

_START_SECONDS = 40.0
_ATTEMPTS = 3


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Its URL."""
    process, port = _started()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def s3_place(s3_endpoint: str) -> S3Place:
    """An empty bucket, with a prefix."""
    bucket = f"zeitwork-{ids.token(9).lower().replace('_', '-').strip('-')}-x"
    # It looks at no signature.
    with urlopen(Request(f"{s3_endpoint}/{bucket}", method="PUT"), timeout=20) as answer:
        assert answer.status == 200
    return S3Place(bucket, "builds/", s3_endpoint, access_key="key", secret_key="secret")


def _started() -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(_ATTEMPTS):
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process, port
            time.sleep(0.05)
        process.kill()
        process.wait()
    raise AssertionError("moto's server does not start")
