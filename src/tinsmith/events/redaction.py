"""Secrets out of what people are shown: logs, reports and pull-request texts, never the patch itself.

Three things are found: keys in their provider's own format, private keys in PEM, and random values where a
name beside them says that they are secret (`API_KEY=…`, `"password": "…"`).  Each becomes `[redacted: KIND]`;
the number of lines stays, and so does everything else on them.  Formats are those that the providers document
for secret scanners.

Every pattern begins with a literal and either cannot fail after its bound or stops at a character that another
beginning needs, so that the time is linear in the text, whatever the text.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from tinsmith.events.log import Event
from tinsmith.events.private_keys import without_private_keys

_MAX_PASSES = 8


def redact(text: str) -> str:
    """`text` with each secret replaced by `[redacted: KIND]`.  Idempotent; as many lines as before."""
    for _ in range(_MAX_PASSES):  # what stood beside a secret may be one itself once its neighbour is gone
        redacted = without_private_keys(_named(_formats(text)), _mark("private key"))
        if redacted == text:
            break
        text = redacted
    return text


def has_secret(line: str) -> bool:
    """Whether `redact` would change this line.  A line from inside a private key is not known by itself."""
    return redact(line) != line


def redact_event(event: Event) -> Event:
    """A copy in which every string is redacted, and the token ids of a `tokens` event are only counted."""
    redacted: Event = {key: _redact_value(value, key) for key, value in event.items()}
    if event.get("type") == "tokens" and isinstance(ids := event.get("ids"), list):
        redacted["ids"] = len(ids)
    return redacted


def _redact_value(value: Any, name: str = "") -> Any:
    if isinstance(value, str):
        return _mark("secret") if _is_named_secret(name, value) else redact(value)
    if isinstance(value, dict):
        return {redact(str(key)): _redact_value(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redact_value(item) for item in value]
    return value


def _mark(kind: str) -> str:
    return f"[redacted: {kind}]"


# Keys in their provider's format


class _Format(NamedTuple):
    kind: str
    literals: tuple[str, ...]
    """One of them is in every text that matches: what is asked first, since it costs little."""
    pattern: re.Pattern[str]
    """The group `secret`, or all of the match, is what goes."""
    accepts: Callable[[str], bool] = lambda secret: True


def _has_random_run(secret: str) -> bool:
    return any(len(run) >= 32 or re.search(r"\d", run) for run in re.findall(r"[A-Za-z0-9]{16,}", secret))


def _is_written_out(secret: str) -> bool:
    """Not a word that stands for a value (`Bearer credentials`)."""
    return not re.fullmatch(r"[a-z_.-]+|[A-Z_.-]+", secret)


_TEMPLATE = re.compile(r"[{}<>$]|%[sr(]|\A[*.x]+\Z|\.\.\.|\[redacted:")


def _is_no_template(secret: str) -> bool:
    return not _TEMPLATE.search(secret)


_EDGE = r"(?:(?<![\w-])|(?<=\\[nrt]))"
"""Where a word begins, in JSON within a string too."""

_FORMATS = (
    _Format("AWS access key", ("AKIA", "ASIA", "ABIA", "ACCA"), re.compile(r"(?<![A-Z0-9])A[KSBC][IC]A[A-Z0-9]{16}\b")),
    _Format("AWS secret key", ("ecret", "ECRET"), re.compile(
        r"(?i:secret_?access_?key|aws_?secret(?:_?key)?)[\"'\]\\]{0,3}[ \t]{0,4}(?:=>|[:=])[ \t]{0,4}\\?[\"']?"
        r"(?P<secret>[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/])"
    )),
    _Format("GitHub token", ("gh", "github_pat_"), re.compile(r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}")),
    _Format("GitLab token", ("gl",), re.compile(r"gl(?:pat|[dfr]t|rtr|cbt|ptt|oas|soat|agent|imt|ffct)-[\w.-]{20,}")),
    _Format("Slack token", ("xox", "xapp-"), re.compile(r"xox[abceoprs][.-][\w.-]{10,}|xapp-\d-[\w-]{20,}")),
    _Format("webhook", ("hooks.slack.com/",), re.compile(r"hooks\.slack\.com/(?P<secret>\w+/T\w+/B?\w+/?\w*)")),
    _Format("webhook", ("/api/webhooks/",), re.compile(r"/api/webhooks/(?P<secret>\d{10,}/[\w-]{30,})")),
    _Format("Stripe key", ("k_live_", "k_test_", "k_prod_"), re.compile(r"[rs]k_(?:live|test|prod)_[A-Za-z0-9]{10,}")),
    _Format("webhook secret", ("whsec_",), re.compile(r"whsec_[A-Za-z0-9+/=]{24,}")),
    _Format("API key", ("sk-",), re.compile(_EDGE + r"sk-[\w-]{20,}"), _has_random_run),
    _Format("Google key", ("AIza",), re.compile(r"AIza[\w-]{35,}")),
    _Format("Google token", ("ya29.", "GOCSPX-"), re.compile(r"(?:ya29\.|GOCSPX-)[\w-]{20,}")),
    _Format("Hugging Face token", ("hf_", "api_org_"), re.compile(r"(?:hf|api_org)_[A-Za-z0-9]{30,}")),
    _Format("npm token", ("npm_",), re.compile(r"npm_[A-Za-z0-9]{36,}")),
    _Format("PyPI token", ("pypi-A",), re.compile(r"pypi-A[\w-]{30,}")),
    _Format("SendGrid key", ("SG.",), re.compile(r"SG\.[\w-]{16,32}\.[\w-]{32,64}")),
    _Format("Twilio key", ("SK", "AC"), re.compile(_EDGE + r"(?:SK|AC)[0-9a-f]{32}\b")),
    _Format("Mailgun key", ("key-",), re.compile(_EDGE + r"key-[0-9a-f]{32}\b")),
    _Format("Mailchimp key", ("-us",), re.compile(r"(?<![0-9a-f])[0-9a-f]{32}-us\d{1,2}\b")),
    _Format("Shopify token", ("shp",), re.compile(r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}")),
    _Format("Square token", ("sq0", "EAAA"), re.compile(r"sq0[a-z]{3}-[\w-]{22,}|(?<!\w)EAAA[\w-]{60}\b")),
    _Format("Telegram token", (":AA",), re.compile(r"(?<!\d)\d{8,10}:AA[\w-]{32,}")),
    _Format("Databricks token", ("dapi",), re.compile(r"dapi[0-9a-f]{32}")),
    _Format("DigitalOcean token", ("_v1_",), re.compile(r"do[opr]_v1_[0-9a-f]{64}")),
    _Format("Vault token", ("hvs.", "hvb.", "hvr."), re.compile(r"hv[sbr]\.[\w-]{20,}")),
    _Format("Terraform token", (".atlasv1.",), re.compile(r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,}")),
    _Format("Atlassian token", ("ATATT3", "ATBB"), re.compile(r"ATATT3[\w=-]{50,}|ATBB[A-Za-z0-9]{24,}")),
    _Format("Grafana token", ("glsa_", "glc_"), re.compile(r"glsa_\w{32,}|glc_[A-Za-z0-9+/=]{32,}")),
    _Format("Docker token", ("dckr_",), re.compile(r"dckr_[op]at_[\w-]{20,}")),
    _Format("RubyGems key", ("rubygems_",), re.compile(r"rubygems_[0-9a-f]{48}")),
    _Format("API key", ("gsk_", "xai-", "r8_"), re.compile(_EDGE + r"(?:gsk_|xai-|r8_)[A-Za-z0-9]{36,}")),
    _Format("API key", ("pplx-", "NRAK-"), re.compile(r"pplx-[A-Za-z0-9]{40,}|NRAK-[A-Z0-9]{27}")),
    _Format("API key", ("lin_api_", "dp.", "AGE-"), re.compile(
        r"lin_api_[A-Za-z0-9]{40}|dp\.(?:pt|st|sa)\.[A-Za-z0-9]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{58}"
    )),
    _Format("Azure key", ("AccountKey=", "AccessKey="), re.compile(
        r"(?:Account|Access)Key=(?P<secret>[A-Za-z0-9+/]{40,}={0,2})"
    )),
    _Format("signature", ("sig=",), re.compile(r"[?&]sig=(?P<secret>[A-Za-z0-9%+/]{30,}={0,2})")),
    _Format("JSON web token", ("eyJ",), re.compile(
        _EDGE + r"eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+(?:\.[\w-]++){0,2}"
    )),
    _Format("credentials", ("uthorization", "UTHORIZATION"), re.compile(
        r"(?i:uthorization)[\"'\]\\]{0,3}[ \t]{0,4}[:=,][ \t]{0,4}\\?[\"']?(?i:bearer|basic|token|apikey|bot)[ \t]{1,4}"
        r"(?P<secret>[\w.~+/-]{8,}+={0,2})"
    ), _is_written_out),
    _Format("credentials", ("earer ", "EARER "), re.compile(
        r"(?i:earer)[ ](?P<secret>[\w.~+/-]{20,}+={0,2})"
    ), _has_random_run),
    _Format("password", ("://",), re.compile(
        r"://[^\s:/?#@\"'<>\\`]{0,100}+:(?P<secret>[^\s/?#@\"'<>\\`]{1,200}+)@(?!sha256:)"
    ), _is_no_template),
    _Format("credentials", ("://",), re.compile(r"://(?P<secret>[\w~.-]{20,200}+)@"), _has_random_run),
)  # fmt: skip


def _formats(text: str) -> str:
    for kind, literals, pattern, accepts in _FORMATS:
        if any(literal in text for literal in literals):
            text = pattern.sub(lambda match, kind=kind, accepts=accepts: _replaced(match, kind, accepts), text)
    return text


def _replaced(match: re.Match[str], kind: str, accepts: Callable[[str], bool]) -> str:
    whole = match[0]
    secret = match["secret"] if "secret" in match.re.groupindex else whole
    if not accepts(secret):
        return whole
    start = match.start("secret") - match.start() if secret is not whole else 0
    return whole[:start] + _mark(kind) + whole[start + len(secret) :]


# Random values beside a name that says what they are

_WORDS = ("secret", "token", "passw", "passphrase", "pwd", "credential", "key", "sessionid", "session_id")
_ASSIGNED = re.compile(
    r"(?i:secret|token|passw|passphrase|pwd|credential|key|session_?id)"
    r"[\w.-]{0,40}+\\?[\"'`]?\]?"
    r"(?:[ \t]{0,20}+(?::[ \t]?[A-Za-z_][\w.\[\]| ]{0,40}=|:=|=>|[=!]==?|[=:>,])[ \t]{0,20}+|(?P<blank>[ \t]++))"
    r"(?:\\?\"(?P<double>[^\"\\\n]{8,}+)|\\?'(?P<single>[^'\\\n]{8,}+)|(?P<bare>[A-Za-z0-9+/_.~!@#%^*-]{8,}+={0,2}+))"
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_STRONG = {
    "secret", "secrets", "token", "tokens", "password", "passwd", "passwords", "passphrase", "pwd", "credential",
    "credentials", "apikey", "secretkey", "privatekey", "accesskey", "authtoken", "sessionid", "accesstoken",
}  # fmt: skip
_QUALIFIERS = {"api", "secret", "private", "access", "auth", "encryption", "signing", "master", "account", "session"}
_HARMLESS = {
    "public", "id", "ids", "file", "files", "path", "dir", "url", "uri", "name", "names", "type", "field", "header",
    "hash", "digest", "fingerprint", "thumbprint", "len", "length", "size", "count", "re", "regex", "pattern", "format",
}  # fmt: skip
"""Last parts of a name (`secret_file`) that say that the value only leads to a secret; `public` anywhere."""
_DIGEST = re.compile(r"[0-9a-f]+|[0-9A-F]+|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|(?:sha\d+|md5)[:-].*")
_PLACEHOLDER = re.compile(r"(?i)placeholder|change.?me|your[-_ ]|x{4}|\*{3}|\.\.\.|1234567890?|abcdef|[{}<>]|\$\(")


def _named(text: str) -> str:
    lower = text.lower()
    if not any(word in lower for word in _WORDS):
        return text
    parts: list[str] = []
    done = position = 0
    while match := _ASSIGNED.search(text, position):
        group = str(match.lastgroup)
        start, end = match.span(group)
        position = start  # a value that is not one may hold a name and its value
        before = text[max(done, match.start() - 60) : match.start()]
        head = before[len(before.rstrip(_NAME_CHARACTERS)) :]
        tail = match[0][: len(match[0]) - len(match[0].lstrip(_NAME_CHARACTERS))]
        is_code = group == "bare" and (
            text[end : end + 1] in ("(", "[", "{")
            or "," in text[match.start() : start]
            or _DOTTED.fullmatch(match[group])
        )
        is_prose = match["blank"] is not None and not head.startswith("--")  # only `--token VALUE` needs no sign
        if not is_code and not is_prose and _is_named_secret(head + tail, match[group]):
            parts += [text[done:start], _mark("secret")]
            done = position = end
    return "".join([*parts, text[done:]])


def _is_named_secret(name: str, value: str) -> bool:
    """Whether the name says secret and the value is random enough to be one."""
    words = [word.lower() for word in _NAME_PARTS.findall(name)]
    if not words or words[-1] in _HARMLESS or "public" in words:
        return False
    strong = not _STRONG.isdisjoint(words) or ("key" in words and not _QUALIFIERS.isdisjoint(words))
    if strong:
        password = any(word.startswith(("passw", "passphrase", "pwd")) for word in words)
        return _is_random(value) or (password and _is_strong_password(value))
    is_setting = name.isupper() and len(words) > 1  # `STRIPE_KEY=…`, unlike the `"key": "3f78…"` of a cache
    return "key" in words and _is_random(value, 20) and (is_setting or not _DIGEST.fullmatch(value))


def _is_random(value: str, shortest: int = 16) -> bool:
    """Long, without blanks, and changing between letters, digits and cases as chosen text does not."""
    if len(value) < shortest or re.search(r"\s", value) or _PLACEHOLDER.search(value) or "://" in value:
        return False
    if _entropy(value) < 3.0:
        return False
    longest = max(re.findall(r"[A-Za-z0-9]+", value), key=len, default="")
    if len(longest) >= 12:
        return _is_mixed(longest)
    # Groups (`4KX9-M2QT-…`): as random as the whole without what joins them.
    joined = re.sub(r"[^A-Za-z0-9]", "", value)
    return len(joined) >= shortest and _changes(joined) >= 0.4 and _is_mixed(joined)


def _is_mixed(run: str) -> bool:
    digits = sum(c.isdigit() for c in run)
    if any(c.islower() for c in run) and any(c.isupper() for c in run):
        return _changes(run) >= (0.4 if digits >= 2 else 0.45)
    return digits >= 3 and len(run) - digits >= 4 and _changes(run) >= (0.2 if len(run) < 24 else 0.12)


_SYMBOLS = "!@#$%^&*()+=?~<>|;,"


def _is_strong_password(value: str) -> bool:
    kinds = [
        any(c.islower() for c in value),
        any(c.isupper() for c in value),
        any(c in _SYMBOLS for c in value),
    ]
    enough = sum(kinds) >= 2 and any(c.isdigit() for c in value)
    return 8 <= len(value) <= 128 and enough and not re.search(r"\s|://", value) and not _PLACEHOLDER.search(value)


def _changes(text: str) -> float:
    """The share of neighbours of different kinds: about 0.6 in base 62, 0.47 in hexadecimal, 0.2 in names."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in text]
    return sum(a != b for a, b in pairwise(kinds)) / max(len(kinds) - 1, 1)


def _entropy(text: str) -> float:
    """Shannon's, in bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
