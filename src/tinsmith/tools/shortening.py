"""A text too long to be shown whole: its beginning and its end."""


def shorten(text: str, limit: int) -> str:
    """`text`, where it is longer than `limit` characters its first and last ones, `limit` together, the cut marked."""
    text = text.strip()
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    return f"{text[:head].rstrip()} […] {text[len(text) - (limit - head) :].lstrip()}"
