"""Choices compared on a small budget before the long run: what is learnt of the brief, and the size.

Each choice trains on the same tokens in the same order; the held-out loss (nats per learnt token of line
number and new text) decides. The scoring of candidates is compared on the trained model by
`tinsmith.evals.ranking`.
"""

import json
from pathlib import Path

import click

from tinsmith.learn.network import Shape
from tinsmith.learn.shards import Shards
from tinsmith.learn.training import Plan, train

LARGE = Shape(layers=5, ffn=768)
CHOICES = {
    "5.0M, brief 0.15": Plan(shape=LARGE),
    "5.0M, calls only": Plan(shape=LARGE, brief_weight=0.0),
    "2.3M, brief 0.15": Plan(shape=Shape(layers=3, ffn=256)),
}


@click.command()
@click.option("--shards", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--tokens", default=800_000, show_default=True)
def main(shards: Path, out: Path, tokens: int) -> None:
    """Trains each choice for a few minutes and prints a row of its curve's end."""
    data = Shards(sorted(shards.glob("train-*")))
    held_out = Shards([shards / "validation"])
    for name, plan in CHOICES.items():
        directory = out / name.replace(" ", "-").replace(",", "")
        network = train(
            Plan(plan.shape, tokens=tokens, brief_weight=plan.brief_weight),
            data,
            held_out,
            directory,
            compiled=False,
        )
        last = json.loads((directory / "curve.jsonl").read_text().splitlines()[-1])
        print(json.dumps({"choice": name, "parameters": network.parameter_count(), **last}), flush=True)


if __name__ == "__main__":
    main()
