"""Fifty tools as other agents declare theirs, of our own making: what calls of foreign tools are proved with.

They have what real declarations have: lists of objects, references to themselves, alternatives told apart by a constant
or by their keys, null, tuples, maps, bounds, words in many scripts, nothing at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
PATH: Schema = {"type": "string", "description": "Path from the workspace's root."}


def one_of(*values: Any) -> Schema:
    """One of `values`."""
    return {"enum": list(values)}


def texts(**bounds: Any) -> Schema:
    """A string with bounds."""
    return {"type": "string", **bounds}


def whole(low: int | None = None, high: int | None = None, **more: Any) -> Schema:
    """An integer with bounds."""
    bounds = {"minimum": low, "maximum": high}
    return {"type": "integer", **{key: bound for key, bound in bounds.items() if bound is not None}, **more}


def number(**bounds: Any) -> Schema:
    """A number with bounds."""
    return {"type": "number", **bounds}


def some(items: Schema, **bounds: Any) -> Schema:
    """A list of `items`."""
    return {"type": "array", "items": items, **bounds}


def record(required: Sequence[str] = (), /, **properties: Any) -> dict[str, Any]:
    """An object with these members and no others."""
    closed = {"type": "object", "properties": properties, "additionalProperties": False}
    return closed | ({"required": list(required)} if required else {})


def either(*schemas: Schema) -> Schema:
    """One of the alternatives."""
    return {"anyOf": list(schemas)}


def maybe(schema: Schema) -> Schema:
    """Or null."""
    return either(schema, {"type": "null"})


def ref(name: str) -> Schema:
    """A definition of the tool's own."""
    return {"$ref": f"#/$defs/{name}"}


def tool(
    name: str, description: str, required: Sequence[str] = (), defs: Schema | None = None, /, **properties: Any
) -> Schema:
    """A declaration in OpenAI's form."""
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    parameters |= {"$defs": defs} if defs else {}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_FILTER: Schema = {
    "condition": record(
        ("field", "operator", "value"),
        field=TEXT,
        operator=one_of("=", "!=", "<", "<=", ">", ">=", "in"),
        value=either(TEXT, number(), FLAG, {"type": "null"}, some(either(TEXT, number()), maxItems=5)),
    ),
    "all": record(("all",), all=some(ref("filter"), minItems=1, maxItems=4)),
    "not": record(("not",), **{"not": ref("filter")}),
    "filter": either(ref("condition"), ref("all"), ref("not")),
}

_SHAPES: Schema = {
    "circle": record(
        ("kind", "centre", "radius"), kind={"const": "circle"}, centre=ref("point"), radius=number(exclusiveMinimum=0)
    ),
    "line": record(("kind", "points"), kind={"const": "line"}, points=some(ref("point"), minItems=2, maxItems=6)),
    "label": record(("kind", "at", "text"), kind={"const": "label"}, at=ref("point"), text=texts(maxLength=40)),
    "point": {"type": "array", "prefixItems": [number(), number()], "items": False, "minItems": 2},
}

_TREE: Schema = {
    "node": record(("name",), name=texts(minLength=1, maxLength=20), children=some(ref("node"), maxItems=3)),
}

_TODO = record(
    ("content", "status"),
    content=texts(minLength=1),
    status={"type": "string", "enum": ["pending", "in_progress", "completed"]},
    priority=one_of("high", "medium", "low"),
    id=TEXT,
)

_ANY_JSON: Schema = {
    "json": either(
        TEXT,
        number(),
        FLAG,
        {"type": "null"},
        some(ref("json")),
        {"type": "object", "additionalProperties": ref("json")},
    ),
}

DECLARATIONS: Sequence[Schema] = (
    tool("bash", "Runs a shell command.", ("command",), command=TEXT, timeout=whole(1, 600_000), background=FLAG),
    tool("read_file", "Reads a file.", ("path",), path=PATH, offset=whole(0), limit=whole(1, 2000)),
    tool("write_file", "Writes a whole file.", ("path", "content"), path=PATH, content=TEXT),
    tool(
        "edit_file",
        "Replaces text.",
        ("path", "old", "new"),
        path=PATH,
        old=TEXT,
        new=TEXT,
        all={**FLAG, "default": False},
    ),
    tool(
        "multi_edit",
        "Makes several edits of one file, one after the other.",
        ("path", "edits"),
        path=PATH,
        edits=some(record(("old", "new"), old=TEXT, new=TEXT, replace_all=FLAG), minItems=1),
    ),
    tool(
        "insert_lines",
        "Inserts lines.",
        ("path", "at", "lines"),
        path=PATH,
        at=whole(0, 99_999),
        lines=some(TEXT, minItems=1, maxItems=50),
    ),
    tool("list_directory", "Lists a directory.", (), path=PATH, depth=whole(1, 5), hidden=FLAG),
    tool("glob", "Finds files by a pattern.", ("pattern",), pattern=TEXT, path=maybe(TEXT)),
    tool(
        "grep",
        "Searches in files.",
        ("pattern",),
        pattern=TEXT,
        path=TEXT,
        output={"type": "string", "enum": ["content", "files", "count"]},
        before=whole(0, 20),
        after=whole(0, 20),
        multiline=FLAG,
        types=some(one_of("py", "js", "ts", "go", "rs", "java"), uniqueItems=True, maxItems=4),
    ),
    tool("todo_write", "Replaces the list of tasks.", ("todos",), todos=some(_TODO, maxItems=10)),
    tool("todo_read", "Shows the list of tasks."),
    tool("think", "A place to think.", ("thought",), thought=TEXT),
    tool("finish", "Ends the work.", ("summary", "success"), summary=texts(minLength=1), success=FLAG),
    tool(
        "ask",
        "Asks the person.",
        ("question",),
        question=TEXT,
        choices=some(texts(maxLength=30), minItems=2, maxItems=4),
    ),
    tool("browser_open", "Opens a page.", ("url",), url={"type": "string", "format": "uri"}, new_tab=FLAG),
    tool(
        "browser_click",
        "Clicks an element or a place.",
        ("target",),
        target=either(
            record(("selector",), selector=TEXT, nth=whole(0, 100)),
            record(("x", "y"), x=whole(0, 3840), y=whole(0, 2160)),
        ),
        button=one_of("left", "middle", "right"),
    ),
    tool(
        "browser_type",
        "Types into a field.",
        ("ref", "text"),
        ref=TEXT,
        text=TEXT,
        keys=some(one_of("Enter", "Tab", "Escape", "Control+A"), maxItems=3),
    ),
    tool(
        "browser_scroll",
        "Scrolls.",
        ("by",),
        by={"type": "array", "prefixItems": [whole(-5000, 5000), whole(-5000, 5000)], "items": False, "minItems": 2},
    ),
    tool("browser_wait", "Waits.", (), seconds=number(minimum=0.1, maximum=30), text=maybe(TEXT)),
    tool(
        "screenshot",
        "Takes a picture of the screen.",
        (),
        area=maybe(some(whole(0), minItems=4, maxItems=4)),
        scale=one_of(0.5, 1, 2),
    ),
    tool(
        "http_request",
        "Makes a request.",
        ("method", "url"),
        method=one_of("GET", "POST", "PUT", "DELETE"),
        url=TEXT,
        headers={"type": "object", "additionalProperties": TEXT},
        body=maybe(TEXT),
        timeout=number(exclusiveMinimum=0, maximum=120),
    ),
    tool(
        "sql_query",
        "Runs one statement.",
        ("statement",),
        statement=TEXT,
        parameters=some(either(TEXT, number(), FLAG, {"type": "null"}), maxItems=8),
        limit=whole(1, 1000),
    ),
    tool(
        "sql_insert",
        "Inserts rows.",
        ("table", "rows"),
        table=texts(minLength=1, maxLength=63),
        rows=some(
            {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
            minItems=1,
            maxItems=5,
        ),
    ),
    tool(
        "find_records",
        "Finds records.",
        ("where",),
        _FILTER,
        where=ref("filter"),
        order=some(record(("by",), by=TEXT, descending=FLAG), maxItems=3),
        limit=whole(1, 100),
    ),
    tool(
        "draw",
        "Draws shapes.",
        ("shapes",),
        _SHAPES,
        shapes=some(either(ref("circle"), ref("line"), ref("label")), minItems=1, maxItems=5),
    ),
    tool("make_tree", "Makes directories.", ("root",), _TREE, root=ref("node")),
    tool(
        "set_value",
        "Stores any JSON.",
        ("key", "value"),
        _ANY_JSON,
        key=texts(minLength=1, maxLength=64),
        value=ref("json"),
    ),
    tool("merge_settings", "Merges settings.", ("settings",), settings={"type": "object"}),
    tool("apply_patch", "Applies a patch.", ("patch",), patch=TEXT, strip=whole(0, 3), reverse=FLAG),
    tool(
        "git_commit",
        "Commits.",
        ("message",),
        message=texts(minLength=1, maxLength=72),
        paths=some(TEXT, minItems=1),
        amend=FLAG,
    ),
    tool(
        "git_log",
        "Shows commits.",
        (),
        range=record((), since=maybe(TEXT), until=maybe(TEXT)),
        count=whole(1, 200, multipleOf=5),
    ),
    tool(
        "run_tests",
        "Runs tests.",
        (),
        ids=some(TEXT),
        workers=either(whole(1, 64), {"const": "auto"}),
        fail_fast=FLAG,
        markers=maybe(some(TEXT)),
    ),
    tool(
        "debug",
        "Drives the debugger.",
        ("action",),
        action=either(
            record(("type", "path", "line"), type={"const": "break"}, path=TEXT, line=whole(1), condition=maybe(TEXT)),
            record(("type",), type={"const": "continue"}),
            record(("type", "count"), type={"const": "step"}, count=whole(1, 10), into=FLAG),
            record(("type", "expression"), type={"const": "evaluate"}, expression=TEXT),
        ),
    ),
    tool(
        "send_mail",
        "Sends a mail.",
        ("to", "subject"),
        to=either(TEXT, some(TEXT, minItems=1, maxItems=5)),
        subject=texts(maxLength=78),
        body=TEXT,
        priority=whole(1, 5),
    ),
    tool(
        "create_event",
        "Adds to the calendar.",
        ("title", "start"),
        title=TEXT,
        start={"type": "string", "format": "date-time"},
        minutes=whole(15, 480, multipleOf=15),
        invite=some(record(("name",), name=TEXT, optional=FLAG)),
        repeat=maybe(record(("every", "unit"), every=whole(1, 12), unit=one_of("day", "week", "month"))),
    ),
    tool(
        "convert",
        "Converts units.",
        ("value", "unit", "to"),
        value=number(),
        unit=one_of("m", "km", "mi", "°C", "°F"),
        to=one_of("m", "km", "mi", "°C", "°F"),
    ),
    tool(
        "set_colour",
        "Sets a colour.",
        ("colour",),
        colour=either(
            one_of("red", "green", "blue"),
            {"type": "array", "prefixItems": [whole(0, 255)] * 3, "items": False, "minItems": 3},
            record(("hue",), hue=number(minimum=0, exclusiveMaximum=360)),
        ),
    ),
    tool(
        "price",
        "Sets a price.",
        ("amount", "currency"),
        amount=number(minimum=0, maximum=10_000),
        currency=one_of("EUR", "USD", "JPY"),
        discount=number(minimum=-0.5, exclusiveMaximum=0.5),
    ),
    tool(
        "übersetze",
        "Übersetzt Text; 翻訳する; переводит.",
        ("text", "nach"),
        text={"type": "string", "description": "Der Text – mit „Zeichen“."},
        nach=one_of("de", "日本語", "русский", "العربية", "emoji 😀"),
        größe=maybe(whole(1, 9)),
    ),
    tool(
        "検索",
        "ファイルを検索します。",
        ("語",),
        語={"type": "string", "description": "検索語"},
        件数=whole(1, 50),
        種類=some(one_of("画像", "文書", "動画"), uniqueItems=True, minItems=1),
    ),
    tool(
        "matrix",
        "Multiplies a matrix.",
        ("rows",),
        rows=some(some(number(minimum=-10, maximum=10), minItems=1, maxItems=3), minItems=1, maxItems=3),
        transpose=FLAG,
    ),
    tool(
        "schedule",
        "Schedules jobs.",
        ("jobs",),
        jobs={
            "type": "object",
            "minProperties": 1,
            "maxProperties": 4,
            "additionalProperties": record(
                ("command",), command=TEXT, cron=either(TEXT, {"type": "null"}), retries=whole(0, 3)
            ),
        },
    ),
    tool(
        "notebook_edit",
        "Edits a cell.",
        ("path", "cell"),
        path=PATH,
        cell=either(whole(0), {"type": "string", "minLength": 1}),
        mode=one_of("replace", "insert", "delete"),
        source=either(TEXT, some(TEXT)),
    ),
    tool(
        "vector_search",
        "Searches by meaning.",
        ("query",),
        query=texts(minLength=2),
        top_k=whole(1, 50),
        threshold=number(minimum=0, maximum=1),
        tags={"type": "object", "propertyNames": {"enum": ["lang", "repo", "kind"]}, "additionalProperties": TEXT},
    ),
    tool(
        "memory",
        "Remembers.",
        ("entries",),
        entries=some(
            {
                "allOf": [
                    {"type": "object", "properties": {"text": TEXT}, "required": ["text"]},
                    {
                        "properties": {"weight": number(minimum=0)},
                        "anyOf": [
                            {"required": ["weight"]},
                            {"properties": {"pinned": {"const": True}}, "required": ["pinned"]},
                        ],
                    },
                ]
            },
            maxItems=3,
        ),
    ),
    tool(
        "linked_list",
        "Takes a chain.",
        ("head",),
        {"cell": record(("value", "next"), value=WHOLE, next=maybe(ref("cell")))},
        head=ref("cell"),
    ),
    tool(
        "move",
        "Moves pieces.",
        ("moves",),
        moves=some(
            {
                "type": "array",
                "prefixItems": [texts(minLength=2, maxLength=2), texts(minLength=2, maxLength=2)],
                "items": one_of("check", "mate"),
                "minItems": 2,
                "maxItems": 3,
            },
            minItems=1,
            maxItems=4,
        ),
    ),
    tool(
        "set_flags",
        "Sets flags.",
        ("mode", "level"),
        mode={"const": "strict"},
        level=one_of(1, 2, 4, 8, None, "max", True, {"custom": 3}),
    ),
    tool("ping", "Answers."),
    tool(
        "deploy",
        "Deploys a service.",
        ("service", "region", "replicas"),
        service=TEXT,
        region=one_of("eu-west", "eu-north", "us-east"),
        replicas=whole(1, 20),
        image=TEXT,
        cpu=number(minimum=0.1, maximum=16),
        memory=whole(64, 65_536, multipleOf=64),
        env={"type": "object", "additionalProperties": TEXT},
        ports=some(whole(1, 65_535), uniqueItems=False, maxItems=3),
        health=maybe(record(("path",), path=TEXT, interval=whole(1, 300))),
        strategy=one_of("rolling", "blue-green", "recreate"),
        labels={"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        volumes=some(record(("name", "mount"), name=TEXT, mount=TEXT, read_only=FLAG)),
        command=some(TEXT),
        arguments=some(TEXT),
        owner=maybe(TEXT),
        public=FLAG,
        timeout=whole(1, 3600),
        weight=number(exclusiveMinimum=0, maximum=1),
        note=TEXT,
        dry_run=FLAG,
    ),
)
