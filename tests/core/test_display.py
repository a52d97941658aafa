"""Passwords and control characters do not reach a message, a log, a warning, a bar, a `repr` or a traceback."""

from __future__ import annotations

import io
import logging
import sys
import time
import traceback

import pytest

import scim
from helpers import fakes
from scim._core import ScimWarning, error_text, hide_login, hide_secrets, logger, printable, progress, shown, warn
from scim._core.settings import StorageSettings

HIDDEN = [
    # the text, what is shown
    ("http://me:PW@host", "http://***@host"),
    ("S3://ME:PW@bucket/x", "S3://***@bucket/x"),
    ("'s3://me:PW@bucket' is no atlas", "'s3://***@bucket' is no atlas"),
    ("https://PW@host", "https://***@host"),
    ("http://me:P@W:x/y@host:80/p", "http://***@host:80/p"),
    ("http://me:a://PW@host", "http://***@host"),
    ("http://me:P W@host, tell a@b.org", "http://***@host, tell a@b.org"),
    ("http://me:P'W@host", "http://***@host"),
    ("http://me:PW\x1b[0m@host", "http://***@host"),
    ("https://me:p?w#PW@host/x", "https://***@host/x"),
    ("http:/me:PW@host/q.h5ad", "http:/***@host/q.h5ad"),  # as pathlib writes it
    ("http:\\/\\/me:PW@host", "http:\\/\\/***@host"),  # as JSON may
    ("to=http%3A%2F%2Fme%3APW%40host%2Fp", "to=http%3A%2F%2F***@host%2Fp"),
    ("http://me:PW@a and ftp://me:PW@b", "http://***@a and ftp://***@b"),
    ("one\nhttp://me:PW@a\ntwo a@b.org", "one\nhttp://***@a\ntwo a@b.org"),
    ("b'http://me:PW@host'", "b'http://***@host'"),
    ("https://b.org/k?X-Amz-Signature=PW&token=PW.", "https://b.org/k?***."),
    ("vfs.s3.proxy_password=PW x", "vfs.s3.proxy_password=*** x"),
    ("{'aws_secret_access_key': 'PW'}", "{'aws_secret_access_key': '***'}"),
    ("signed with KEYOFAWSPW", "signed with ***"),
]
PLAIN = [
    "mail a@b.org; http://host:8080 fails, c@d.org",
    "s3://bucket/x: denied, ask a@b.org",
    "http://[::1]:80 fails, ask a@b.org",
    "AAACCT@batch1 of C:/Users/me@work/file",
    "label=='T cell' and k==2",
]


@pytest.mark.parametrize(("text", "expected"), [*HIDDEN, *((text, text) for text in PLAIN)])
def test_secrets_are_hidden(monkeypatch, text, expected):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "KEYOFAWSPW")
    assert hide_secrets(text) == expected
    assert "PW" not in shown(text)


@pytest.mark.parametrize("address", ["me:PW@host:80", "http://me:PW@host:80", "me:a://PW@host:80", "me:P W@host:80"])
def test_an_address_may_have_no_scheme(address):
    assert hide_login(address).endswith("***@host:80")
    assert "PW" not in hide_login(address)


@pytest.mark.parametrize("text", ["a://" * 50_000, "aa:/" * 50_000 + "@", "secret" * 30_000, "http://u:s s" * 20_000])
def test_long_texts_take_no_long_time(text):
    started = time.process_time()
    hide_secrets(text)
    assert time.process_time() - started < 5  # a second or less; hours if each address were searched to the end


def test_what_cannot_be_seen_is_escaped():
    hostile = "a\r\n\t\x00\x1b[31m\x7f\x9b1m\u202e\u2066\u200b\u2028\ud800"
    assert printable(hostile) == r"a\r\n\t\x00\x1b[31m\x7f\x9b1m\u202e\u2066\u200b\u2028\ud800"
    plain = "Müller glía, 漢字, γδ T cell (CD4⁺) 100 % \\n"
    assert printable(plain) is plain


HOSTILE = "http://me:PW@host \x1b[31m\u202e\nscim: all is well"
CLEAN = r"http://***@host \x1b[31m\u202e\nscim: all is well"


def test_messages_of_all_kinds(caplog, monkeypatch):
    assert error_text(ValueError(HOSTILE)) == CLEAN.replace(r"\n", " ")
    assert error_text(KeyError(HOSTILE)) == CLEAN.replace(r"\n", " ")
    with pytest.warns(ScimWarning) as warned:
        warn(HOSTILE)
    assert str(warned[0].message) == CLEAN
    with caplog.at_level(logging.INFO, "scim"):
        logger.info("read %s", HOSTILE)
        logger.info(HOSTILE)
    assert caplog.messages == [f"read {CLEAN}", CLEAN]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(scim.settings, "progress", True)
    with progress(total=3, desc=HOSTILE) as bar:
        bar.update(3)
    assert CLEAN in sys.stderr.getvalue()
    assert "PW" not in sys.stderr.getvalue()


@pytest.mark.parametrize("proxy", ["me:PW@host:80", "http://me:PW@host:80"])
def test_settings(monkeypatch, proxy):
    storage = StorageSettings(proxy=proxy, endpoint=proxy)
    monkeypatch.setattr(scim.settings, "storage", storage)
    monkeypatch.setattr(scim.settings, "atlas", "s3://me:PW@bucket")
    assert "PW" not in repr(scim.settings)
    assert repr(storage).startswith("StorageSettings(region=None, endpoint='")
    assert repr(scim.settings).startswith("Settings(atlas='s3://***@bucket', progress=None, ")


ADDRESSES = ["s3://me:PW@bucket/a", "s3://me:P/W@bucket", "S3://me:PW@bucket", "http://me:PW@host/a", "s3:/me:PW@b"]
ADDRESSES += ["s3://bucket/a?X-Amz-Signature=PW", "me:PW@host:80", "//me:PW@host"]
ROUTES = {
    "open": scim.atlas.open,
    "create": lambda uri: scim.atlas.create(uri, model=fakes.tiny_model()),
    "verify": scim.atlas.verify,
    "from_soma": lambda uri: scim.atlas.from_soma(uri, "new.scim"),
    "from_embedding": lambda uri: scim.atlas.from_embedding(uri, "new.scim", obsm="X"),
    "load": scim.model.load,
    "save": lambda uri: fakes.tiny_model().save(uri),
    "annotate": lambda uri: scim.tl.annotate(fakes.cells(3), uri),
    "embed": lambda uri: scim.tl.embed(fakes.cells(3), model=uri),
    "index": scim.index.open,
}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("route", ROUTES)
def test_addresses_with_credentials_are_refused(route, address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError)) as caught:
        ROUTES[route](address)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert "***" in str(caught.value)
    assert "PW" not in text
    assert "P/W" not in text
    assert list(tmp_path.iterdir()) == []


def test_credentials_of_an_atlas_come_from_the_environment():
    message = r"'s3://\*\*\*@bucket/a' has credentials; leave out what is before '@' and set AWS_ACCESS_KEY_ID"
    with pytest.raises(ValueError, match=message):
        scim.atlas.open("s3://me:PW@bucket/a")


SETTINGS = [
    ("proxy", "http://me:PW/x@host"),
    ("proxy", "http://me:PW@host:x"),
    ("proxy", "http://me:PW@[::1"),
    ("endpoint", "http://me:PW@host"),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_addresses_of_servers(name, value, monkeypatch):
    monkeypatch.setattr(scim.settings, "storage", StorageSettings(**{name: value}))
    with pytest.raises(
        ValueError, match=rf"storage.{name} must be as 'https://host:port', got 'http://\*\*\*@"
    ) as caught:
        scim.atlas.open("s3://bucket/a")
    assert "PW" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
