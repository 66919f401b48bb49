"""Secrets are out of what is shown; code, prose and the shape of the text stay."""

import random
import string
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.events import has_secret, redact, redact_event

# Put together here, so that no scanner takes this file for a leak.
BASE62 = "9fQ2xL7bT4vZ8kR1mN6wY3cH5jD0sG2pA9eU7iO4"
HEX = "9f8a7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b"
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
BEGIN, END = "-----BEGIN RSA PRIVATE " + "KEY-----", "-----END RSA PRIVATE " + "KEY-----"

FORMATS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + BASE62[:36],
    "gho_" + BASE62[:36],
    "github_pat_" + BASE62[:22] + "_" + BASE62 + BASE62[:19],
    "glpat-" + BASE62[:20],
    "xoxb-" + "123456789012-123456789012-" + BASE62[:24],
    "sk_live_" + BASE62[:24],
    "sk-" + BASE62 + BASE62[:8],
    "sk-proj-" + BASE62[:30] + "-" + BASE62,
    "sk-ant-api03-" + BASE62 + "-" + BASE62,
    "AIza" + BASE62[:35],
    "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "npm_" + BASE62[:36],
    "pypi-AgEIcHlwaS5vcmc" + BASE62,
    "SG." + BASE62[:22] + "." + BASE62 + "abc",
    "SK" + HEX[:32],
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0." + BASE62,
    "hvs." + BASE62[:24],
    "dapi" + HEX[:32],
    "dop_v1_" + HEX,
]


@pytest.mark.parametrize("secret", FORMATS)
@pytest.mark.parametrize(
    "around", ["{}", "+TOKEN={}\n", 'x = "{}",', "12\tuse {} here", "a\\n{}\\n", "https://x:{}@h/p"]
)
def test_a_providers_key_goes_and_the_rest_stays(secret: str, around: str) -> None:
    shown = redact(around.format(secret))
    assert secret not in shown and secret[-12:] not in shown
    before, after = around.split("{}")
    assert shown.startswith(before) and shown.endswith(after) and "[redacted: " in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("postgres://app:hunter2@db:5432/x", "postgres://app:[redacted: password]@db:5432/x"),
        ("Authorization: Bearer abcDEF123.xyz", "Authorization: Bearer [redacted: credentials]"),
        ('{"authorization": "Basic dXNlcjpodW50ZXIy"}', '{"authorization": "Basic [redacted: credentials]"}'),
        (f"API_KEY={BASE62[:24]}", "API_KEY=[redacted: secret]"),
        (f"+export DB_PASSWORD='{BASE62[:20]}'", "+export DB_PASSWORD='[redacted: secret]'"),
        (f'os.environ["AUTH_TOKEN"] = "{HEX[:32]}"', 'os.environ["AUTH_TOKEN"] = "[redacted: secret]"'),
        (f'  "clientSecret": "{BASE62[:32]}",', '  "clientSecret": "[redacted: secret]",'),
        (f"token: str = '{BASE62[:30]}'", "token: str = '[redacted: secret]'"),
        (f"run --token {BASE62[:24]} now", "run --token [redacted: secret] now"),
        (f"STRIPE_KEY={HEX[:32]}", "STRIPE_KEY=[redacted: secret]"),
        ('password = "Tr0ub4dor&3"', 'password = "[redacted: secret]"'),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [redacted: AWS secret key]",
        ),
    ],
)
def test_a_value_whose_name_says_secret(line: str, shown: str) -> None:
    assert redact(line) == shown
    assert has_secret(line) and not has_secret(shown)


@pytest.mark.parametrize(
    "line",
    [
        "rows.sort(key=lambda row: row.secret_name)",
        "token = tokenizer.next()",
        "password = getpass.getpass('Password: ')",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        'run_id = "123e4567-e89b-12d3-a456-426614174000"',
        'content-hash = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"',
        '"key": "3f786850e387550fdab836ed7e6dc881de23001b"',
        'cache_key = "user_profile_12345_view_of_page"',
        "PUBLIC_KEY=" + BASE62,
        'SECRET_FILE="/etc/ssl/private/server-2024-01.pem"',
        "TOKEN=${GITHUB_TOKEN}",
        'api_key = "YOUR_API_KEY_HERE"',
        "http://{user}:{password}@{host}/",
        "https://docs.example.com/authentication#bearer",
        "Authorization: Bearer credentials",
        "the key to this is the token that the tokenizer makes of passwords",
        '<div class="sk-estimator-doc-link-fitted-and-long">',
        f"if text.startswith('{BEGIN}'):",
    ],
)
def test_ordinary_code_stays(line: str) -> None:
    assert redact(line) == line and not has_secret(line)


@pytest.mark.parametrize("margin", ["", "+", "    ", "> ", "7\t", "# "])
@pytest.mark.parametrize("end", [[END, "after = 1"], ["", "the end was cut off"], []])
def test_a_private_key_goes_line_by_line(margin: str, end: list[str]) -> None:
    block = [BEGIN, "Proc-Type: 4,ENCRYPTED", BODY, BODY, "wPq="]
    text = "\n".join(["before = 1", *(margin + line for line in block), *(margin + line for line in end)])
    shown = redact(text).split("\n")
    assert len(shown) == text.count("\n") + 1
    assert shown[0] == "before = 1"
    assert shown[1:6] == [margin + "[redacted: private key]"] * 5
    if end:
        assert shown[-1] == margin + end[-1]
    assert BODY[:16] not in "\n".join(shown)


def test_a_private_key_in_other_shapes() -> None:
    assert redact(f'"key": "{BEGIN}\\n{BODY}\\nabc=\\n{END}\\n",') == '"key": "[redacted: private key]\\n",'
    assert redact(f'"key": "{BEGIN}\\n{BODY}\\nabc') == '"key": "[redacted: private key]'
    # Its beginning cut off.
    assert redact(f"log:\n{BODY}\n{BODY}\n{END}\nok") == "log:\n" + "[redacted: private key]\n" * 3 + "ok"
    # Lines of a string in code; CRLF.
    text = f'"{BEGIN}\\n"\r\n"{BODY}\\n"\r\n"{END}"\r\nx = 1\r\n'
    mark = "[redacted: private key]"
    assert redact(text) == f'"{mark}\\n"\r\n"{mark}\\n"\r\n"{mark}"\r\nx = 1\r\n'
    # Code that knows of such files is no key.
    code = f'BEGIN = "{BEGIN}"\nEND = "{END}"\nfor line in lines:\n    pass'
    assert redact(code) == code


_FRAGMENTS = st.sampled_from(
    [
        *FORMATS,
        BODY,
        BEGIN,
        END,
        BASE62,
        HEX,
        "token",
        "PASSWORD=",
        '"key": "',
        "://",
        "@",
        ":",
        "Bearer ",
        "eyJ",
        "\\n",
    ]
)
_TEXT = st.lists(st.one_of(_FRAGMENTS, st.text(max_size=12), st.sampled_from(["\n", " ", '"', "=", "[redacted: x]"])))


@settings(max_examples=400, deadline=None)
@given(_TEXT.map("".join))
def test_any_text_keeps_its_lines_and_is_redacted_once(text: str) -> None:
    shown = redact(text)
    assert redact(shown) == shown
    assert shown.count("\n") == text.count("\n")
    assert not has_secret(shown)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from(FORMATS), st.text(max_size=60))
def test_a_key_goes_whatever_stands_around_it(before: str, secret: str, after: str) -> None:
    assert secret not in redact(f"{before} {secret} {after}")


@pytest.mark.parametrize(
    "seed",
    [
        *[
            "token",
            "token=",
            'token="',
            "token='",
            "key: ",
            "key :a ",
            "--token ",
            "secret=>",
            "password.",
            "key\t",
            "key,",
        ],
        *[
            "a",
            "-",
            " ",
            "\n",
            "A1",
            "\\n",
            "----",
            "AAAA\n",
            "BEGIN ",
            "eyJ",
            "eyJ_",
            "eyJ-",
            "eyJaaaaaaaa.",
            "://",
            "http://a:",
        ],
        *[
            "://a:b",
            "Bearer ",
            "Authorization: Bearer ",
            "AKIA",
            "sk-",
            "sk-a-",
            "sk-_",
            "SG.",
            "glpat",
            "0123456789:AA",
        ],
        *[BEGIN, BEGIN + "\n", END + "\n", f"{BEGIN}\n{BODY}\n", f"{BEGIN}\\n{BODY}", BODY + "\n", f"{BODY}\n{END}\n"],
    ],
)
def test_a_hostile_megabyte_takes_a_moment(seed: str) -> None:
    text = (seed * ((1 << 20) // len(seed) + 1))[: 1 << 20]
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 5.0  # about 0.3 s; what is quadratic takes hours


def test_random_values_are_found() -> None:
    """Misses are values that look like words by chance."""
    draw = random.Random(5)
    alphabets = [
        (string.ascii_letters + string.digits, 32),
        (HEX, 32),
        (string.ascii_letters + string.digits + "+/", 40),
    ]
    for alphabet, length in alphabets:
        values = ["".join(draw.choice(alphabet) for _ in range(length)) for _ in range(500)]
        assert sum(has_secret(f"API_KEY={value}") for value in values) >= 0.95 * len(values)


def test_the_standard_library_raises_few_false_alarms() -> None:
    """Fewer than 1 line in 20,000 of code that holds no secret, its tests of URLs with passwords included."""
    lines = alarms = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))[::3]:  # every third file: 4 s
        if "site-packages" in path.parts:
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            lines += 1
            alarms += has_secret(line)
    assert lines > 50_000
    assert alarms * 20_000 < lines, f"{alarms} alarms in {lines} lines"


def test_events_are_redacted_everywhere_and_token_ids_only_counted() -> None:
    secret = FORMATS[1]
    event = {
        "v": 1,
        "seq": 3,
        "time": "2026-11-25T01:45:01.123456Z",
        "type": "turn",
        "observation": f"a\nTOKEN={secret}",
        "arguments": {"new": [secret, {"deep": secret}], secret: 1, "API_KEY": BASE62[:24]},
        "usage": {"decoded": 3},
        "none": None,
    }
    shown = redact_event(event)
    assert secret not in repr(shown) and BASE62[:24] not in repr(shown)
    assert {key: shown[key] for key in ("v", "seq", "time", "type", "usage", "none")} == {
        key: event[key] for key in ("v", "seq", "time", "type", "usage", "none")
    }
    assert event["observation"].endswith(secret)  # the event itself is as it was
    tokens = {"v": 1, "seq": 4, "time": "", "type": "tokens", "branch": 0, "at": 7, "kind": "user", "ids": [5, 6, 7]}
    assert redact_event(tokens) == {**tokens, "ids": 3}
