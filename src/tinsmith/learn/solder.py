"""Solder's recipe: corpus, tokenizer, examples, training, GGUF. Each is kept, and skipped when there.

    python -m tinsmith.learn.solder --cache DIR --out FILE

`make train-solder` runs it; an interruption costs little, since training goes on from its checkpoint. Beside
the GGUF it writes what the weights were made of (`PROVENANCE.tsv`) and how the loss fell (`curve.jsonl`).
"""

import gzip
import json
import random
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click
from tokenizers import Tokenizer

from tinsmith.dialects import Encoder
from tinsmith.learn import corpus
from tinsmith.learn.examples import Example, Function, build
from tinsmith.learn.export import export_gguf
from tinsmith.learn.network import Shape
from tinsmith.learn.shards import Shards, write_shard
from tinsmith.learn.tokenizer import load_tokenizer, plain_ids, reserved_of, train_tokenizer
from tinsmith.learn.training import Plan, train
from tinsmith.models import cards
from tinsmith.tasks import Mutation, sample

CARD = "solder"
TOKENIZER_EVERY = 12
SHARDS = 16
ROWS_EVERY = 4
"""One function in so many becomes an example: the corpus holds more than two cores read in an hour."""


@dataclass(frozen=True)
class Recipe:
    """What the examples are made of: `mutants` a function."""

    name: str = "full"
    mutants: int = 1


def functions_of(cache: Path, split: str, part: int = 0, parts: int = 1) -> Iterator[Function]:
    """The corpus's functions of a split (`train` or `validation`): every `parts`-th row from `part` on."""
    with gzip.open(cache / "functions.jsonl.gz", "rt", encoding="utf-8") as rows:
        for index, line in enumerate(rows):
            if index % parts != part:
                continue
            row = json.loads(line)
            if row["split"] == split:
                lines = tuple(row["source"].split("\n"))
                yield Function(row["path"], row["qualname"], row["first_line"], lines, _first_sentence(row["doc"]))


def make_tokenizer(cache: Path, path: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer at `path`, trained on the corpus and on rendered briefs if it is not there yet."""
    if path.exists():
        return load_tokenizer(path)
    print(f"training the tokenizer, {vocabulary:,} ids", file=sys.stderr, flush=True)
    functions = functions_of(cache, "train", parts=TOKENIZER_EVERY)
    texts = ("\n".join(f.lines) if i % 2 else _as_shown(f) for i, f in enumerate(functions))
    tokenizer = train_tokenizer(texts, vocabulary)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path.with_suffix(".part")))
    path.with_suffix(".part").replace(path)
    return tokenizer


def make_shards(cache: Path, tokenizer: Path, directory: Path, recipe: Recipe) -> tuple[Shards, Shards]:
    """Training and held-out examples of `recipe` under `directory`, made if they are not there yet."""
    jobs = [
        (cache, tokenizer, directory / recipe.name / f"train-{part}", recipe, "train", part) for part in range(SHARDS)
    ]
    jobs.append((cache, tokenizer, directory / recipe.name / "validation", recipe, "validation", -1))
    missing = [job for job in jobs if not (job[2] / "offsets.npy").exists()]
    with ProcessPoolExecutor(2) as pool:
        for job, tokens in zip(missing, pool.map(_make_shard, missing), strict=True):
            print(f"{job[2].name}: {tokens:,} tokens", file=sys.stderr, flush=True)
    return Shards(job[2] for job in jobs[:-1]), Shards([jobs[-1][2]])


def _make_shard(job: tuple[Path, Path, Path, Recipe, str, int]) -> int:
    cache, tokenizer_path, directory, recipe, split, part = job
    tokenizer = load_tokenizer(tokenizer_path)
    encoder = Encoder(lambda text: plain_ids(tokenizer, text), reserved_of(tokenizer))
    rng = random.Random(f"{recipe.name} {split} {part}")
    # Neighbours in the corpus stay together: the further suspects of a brief come from the same project.
    every = ROWS_EVERY * SHARDS
    mine = list(functions_of(cache, split, max(part, 0), every if split == "train" else 20))
    system = cards()[CARD].system or ""

    def examples() -> Iterator[Example]:
        for index, function in enumerate(mine):
            for mutation in mutants(function, rng, recipe.mutants):
                count = rng.choices((0, 1, 2), (5, 3, 2))[0]
                near = [mine[(index + step) % len(mine)] for step in range(1, count + 1)]
                yield build(encoder, system, function, mutation, near, rng)

    return write_shard(directory, examples())


@click.command()
@click.option(
    "--cache", type=click.Path(path_type=Path), required=True, help="Where the corpus and all steps are kept."
)
@click.option("--tokens", default=Plan().tokens, show_default=True, help="Padded tokens to train on.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The GGUF to write.")
@click.option("--compile/--no-compile", default=True, help="torch.compile: quicker, needs a C++ compiler.")
def main(cache: Path, tokens: int, out: Path, compile: bool) -> None:
    """Collects, trains and exports Solder; interrupted, it goes on where it was."""
    texts, tokenizer_path = cache / "corpus", cache / "tokenizer.json"
    manifest = corpus.read_manifest(texts) or corpus.collect(corpus.CONFIG, texts)
    print(f"{manifest.functions:,} functions of {len(manifest.rows)} packages", file=sys.stderr, flush=True)
    tokenizer = make_tokenizer(texts, tokenizer_path, Shape().vocabulary)
    data, held_out = make_shards(texts, tokenizer_path, cache / "shards", Recipe())
    print(f"{len(data):,} examples, {len(held_out):,} held out", file=sys.stderr, flush=True)
    network = train(Plan(tokens=tokens), data, held_out, cache / "training", compiled=compile)
    out.parent.mkdir(parents=True, exist_ok=True)
    export_gguf(network, tokenizer, out, card=CARD, context=Shape().context)
    out.with_name("PROVENANCE.tsv").write_text(manifest.provenance(), encoding="utf-8")
    shutil.copyfile(cache / "training" / "curve.jsonl", out.with_name("curve.jsonl"))
    print(f"{out}: {network.parameter_count():,} parameters, {out.stat().st_size:,} bytes")


def mutants(function: Function, rng: random.Random, count: int) -> list[Mutation]:
    """Up to `count` bugs of `function`, with their lines as they are in its file."""
    text = "\n".join(function.lines)
    # A method is parsed under a class, so that its lines keep their indentation.
    head = "class _:\n" if function.lines[0][:1].isspace() else ""
    first = head.count("\n") + 1
    found = sample(head + text, first, first + len(function.lines) - 1, rng, count)
    return [replace(mutation, line=mutation.line + function.first - first) for mutation in found]


def _as_shown(function: Function) -> str:
    numbered = "\n".join(f"{n}\t{line}" for n, line in enumerate(function.lines, function.first))
    return f"{function.path}\n{numbered}\n\n<parameter=path>\n{function.path}\n</parameter>\n<parameter=new>\n"


def _first_sentence(doc: str) -> str:
    return doc.strip().split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    main()
