"""No secret gets past `scrub`, ordinary code does, and no cut between two pieces hides one."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuralforge_server.session import log, scrub

KEY_LINE = "MIIEpAIBAAKCAQEA7bq9Zt3xWv1YkLm8RsTuVwXyZ0123456789abcdEFGH"
KEY_BODY = "\n".join(KEY_LINE[at:] for at in range(4))

SECRETS = {
    "keyword in quotes": ('password = "hunter2hunter2"', "hunter2hunter2"),
    "keyword argument": ('connect(user, password="hunter2hunter2")', "hunter2hunter2"),
    "second of two on a line": (
        '{"password": "${PW}", "api_key": "k3yk3yk3yk3y"}',
        "k3yk3yk3yk3y",
    ),
    "keyword after an id": ('{"user_id": 5, "password": "hunter2hunter2"}', "hunter2"),
    "digits only": ('password = "12345678"', "12345678"),
    "shell": ("export API_KEY=abcd1234efgh", "abcd1234efgh"),
    "yaml": ("  password: Tr0ub4dor", "Tr0ub4dor"),
    "aws": ("key = 'AKIAIOSFODNN7EXAMPLE'", "AKIAIOSFODNN7EXAMPLE"),
    "github": ("use(ghp_" + "a1B2c3D4e5F6" * 3 + ")", "a1B2c3D4e5F6"),
    "url": ("postgres://bob:hunter2@db.example/x", "hunter2"),
    "url with signs in the password": ("amqp://bob:p@ss!w0rd$@mq.example", "w0rd"),
    "ado": ("Server=db;User=bob;Password=hunter2;", "hunter2"),
    "hex": ('salt = "9f86d081884c7d659a2feaa0c55ad015"', "9f86d081884c7d65"),
    "base64 without quotes": (KEY_LINE, "MIIEpAIBAAKC"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_every_kind_of_secret_is_replaced(text: str, secret: str) -> None:
    scrubbed = scrub.scrub(f"first\n{text}\nlast\n")

    assert secret not in scrubbed
    assert "<secret:" in scrubbed
    assert scrubbed.startswith("first\n") and scrubbed.endswith("\nlast\n")


@pytest.mark.parametrize(
    "text",
    [
        *(text for text, _ in SECRETS.values()),
        'key("AKCabcdefghijk")',
        'use("AP5budTFpbypB")',
        "x = 'eyJhbGciOiJI.eyJz.abc'",
        "x" * 1001,
        "key = 'AKIAIOSFODNNEXAMPLEX'",
        "use(sk_live_abcdefghijklmnopqrstuvwx)",
        "'qWeRtYuIoPaSdFgHjKlZxCvBnM'",
        '"fEdCaBcDfAeBdCfA"',
    ],
)
def test_every_kind_of_secret_is_suspected(text: str) -> None:
    assert scrub.scrub(text) != text and scrub.may_hold_secret(text)


def test_no_line_of_installed_code_is_scrubbed_unsuspected() -> None:
    files = sorted(Path(pytest.__file__).parents[1].joinpath("pip", "_internal").rglob("*.py"))
    lines = {line for file in files[:40] for line in file.read_text("utf-8").splitlines()}
    unsuspected = [line for line in lines if not scrub.may_hold_secret(line)]
    assert len(unsuspected) > 1000
    assert [line for line in unsuspected if scrub.scrub(line) != line] == []


def test_a_placeholder_names_its_kind() -> None:
    assert scrub.scrub("k = 'AKIAIOSFODNN7EXAMPLE'") == "k = '<secret:AWS Access Key>'"


@pytest.mark.parametrize(
    "code",
    [
        "def password_for(user):\n    return vault.get(user)\n",
        'parser.add_argument("--password", help="asks when it is left out")\n',
        'url = f"postgres://{user}:{password}@{host}/db"\n',
        "token = next(tokens)\n",
        'path = "/usr/local/lib/python3.11/site-packages/foo.py"\n',
        'request_id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"\n',
        "raise ValueError(f'expected {self.secret_name}')\n",
    ],
)
def test_ordinary_code_is_left_as_it_is(code: str) -> None:
    assert scrub.scrub(code) == code


def test_ordinary_source_of_this_project_is_left_as_it_is() -> None:
    source = Path(log.__file__).read_text("utf-8")

    assert scrub.scrub(source) == source


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY"])
def test_a_private_key_goes_with_all_its_lines(kind: str) -> None:
    text = f"a\n-----BEGIN {kind}-----\n{KEY_BODY}\n-----END {kind}-----\nb\n"

    assert scrub.scrub(text) == "a\n<secret:Private Key>\nb\n"


def test_a_text_that_begins_or_ends_inside_a_private_key_keeps_nothing_of_it() -> None:
    head = f"x = 1\n-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY[:90]}"
    tail = "short\nlines\n-----END RSA PRIVATE KEY-----\ny = 2\n"

    assert scrub.scrub(head) == "x = 1\n<secret:Private Key>"
    assert scrub.scrub(tail) == "<secret:Private Key>\ny = 2\n"


def test_a_secret_is_seen_across_the_cursor() -> None:
    parts = scrub.scrub_parts('password = "', 'hunter2hunter2"', "\nnext()\n")

    assert parts == ('password = "', '<secret:Secret Keyword>"', "\nnext()\n")


def test_a_secret_cut_in_two_leaves_neither_half() -> None:
    left, right = scrub.scrub_parts("key = 'AKIAIOSF", "ODNN7EXAMPLE'")

    assert "AKIA" not in left and "EXAMPLE" not in right


@given(st.lists(st.sampled_from([*(t for t, _ in SECRETS.values()), "x = 1", "", '"']), max_size=5))
def test_scrubbing_scrubbed_text_changes_nothing(lines: list[str]) -> None:
    once = scrub.scrub("\n".join(lines))

    assert scrub.scrub(once) == once


@given(st.text(alphabet="ab1=:\"'\n <>{}$@/;password"), st.text(alphabet="ab1=:\"'\n <>password"))
@example('password="a', 'b"')
def test_scrubbing_any_text_in_parts_is_stable(left: str, right: str) -> None:
    once = "".join(scrub.scrub_parts(left, right))

    assert scrub.scrub(scrub.scrub(once)) == scrub.scrub(once)


def test_nothing_is_verified_over_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a secret was sent away to be verified")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    for text, _ in SECRETS.values():
        scrub.scrub(text)


def test_a_hostile_line_is_replaced_and_does_not_stall() -> None:
    scrub.scrub("warm up")
    started = time.process_time()
    scrubbed = scrub.scrub("password" * 100_000 + "\nx = 1\n")

    assert scrubbed == "<secret:Line Too Long To Check>\nx = 1\n"
    assert time.process_time() - started < 1.0


def test_an_ordinary_suggestion_takes_under_two_milliseconds() -> None:
    suggestion = (
        "    total = sum(item.price for item in basket.items)\n    return round(total, 2)\n"
    )
    scrub.scrub(suggestion)
    started = time.process_time()
    for _ in range(100):
        scrub.scrub(suggestion)

    assert (time.process_time() - started) / 100 < 0.002
