"""The licence that a wheel states, where it is a permissive one."""

import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from tinsmith.learn.corpus.policy import COPYLEFT

_PERMISSIVE = {
    "mit": "MIT",
    "mit-0": "MIT-0",
    "mit-cmu": "MIT-CMU",
    "hpnd": "HPND",
    "0bsd": "0BSD",
    "bsd": "BSD",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "apache-2.0": "Apache-2.0",
    "psf-2.0": "PSF-2.0",
    "python-2.0": "PSF-2.0",
    "isc": "ISC",
    "unlicense": "Unlicense",
}
_LICENCE_WORDS = (
    (r"apache", "Apache-2.0"),
    (r"\bmit\b", "MIT"),
    (r"3-clause bsd|bsd.3.clause|new bsd|modified bsd", "BSD-3-Clause"),
    (r"2-clause bsd|bsd.2.clause|simplified bsd", "BSD-2-Clause"),
    (r"\bbsd\b", "BSD"),
    (r"python software foundation|\bpsf", "PSF-2.0"),
    (r"\bisc\b", "ISC"),
    (r"unlicense", "Unlicense"),
    (r"hpnd|historical permission", "HPND"),
)
_LICENCE_TEXTS = (
    ("permission is hereby granted, free of charge", "MIT"),
    ("redistribution and use in source and binary forms", "BSD"),
    ("apache license", "Apache-2.0"),
)
_REFUSED_LICENCE = re.compile(
    r"gpl|general public|mozilla|\bmpl|eclipse|\bepl|\bcddl|non-?commercial|proprietary|\bcc-by|zope|zpl",
    re.IGNORECASE,
)


def licence_of(wheel: Path) -> str | None:
    """The permissive licence that a wheel's metadata states (its licence file where they are silent), None
    where it has none.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" in name]
        metadata = next(name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        headers = HeaderParser().parsestr(archive.read(metadata).decode("utf-8", "replace"))
        texts = [name for name in names if re.search(r"/(LICEN[CS]E|COPYING)[^/]*$", name, re.IGNORECASE)]
        legal = " ".join(
            " ".join(archive.read(name).decode("utf-8", "replace").split())[:3000] for name in texts[:1]
        ).lower()
    classifiers = [value for value in headers.get_all("Classifier", []) if value.startswith("License ::")]
    expression = str(headers.get("License-Expression", ""))
    stated = str(headers.get("License", ""))
    said = " ".join([expression, *classifiers, stated if len(stated) < 200 else stated[:200]])
    if _REFUSED_LICENCE.search(said):
        return None
    if expression:
        ids = [
            word
            for word in re.split(r"[()\s]+", expression)
            if word and word not in ("AND", "OR", "WITH", "LLVM-exception")
        ]
        known = [_PERMISSIVE.get(word.lower()) for word in ids]
        return " AND ".join(dict.fromkeys(known)) if all(known) else None  # type: ignore[arg-type]
    for pattern, identifier in _LICENCE_WORDS:
        if re.search(pattern, said, re.IGNORECASE):
            return identifier
    if not said.strip() or "unknown" in said.lower() or "OSI Approved" in said:
        if COPYLEFT.search(legal):
            return None
        return next((identifier for words, identifier in _LICENCE_TEXTS if words in legal), None)
    return None
