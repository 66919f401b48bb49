"""The training loop: resumable, interruptible, with progress, on two cores or on an accelerator.

Muon updates the hidden matrices, AdamW the embedding and the norms; the learning rate warms up and then falls
linearly to nothing. Checkpoints are written atomically.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tinsmith.errors import InputError
from tinsmith.learn.examples import Kind
from tinsmith.learn.muon import Muon
from tinsmith.learn.network import Decoder, Shape
from tinsmith.learn.shards import BUCKETS, Batch, Shards

REPORTS = 40


@dataclass(frozen=True)
class Plan:
    """What to train. `tokens` counts the padded ids that the network reads."""

    shape: Shape = field(default_factory=Shape)
    tokens: int = 24_000_000
    batch_tokens: int = 12_288
    matrix_rate: float = 0.02
    rate: float = 0.003
    weight_decay: float = 0.05
    learnt_share: float = 0.3
    brief_weight: float = 0.15
    seed: int = 1

    def weights(self) -> dict[Kind, float]:
        """The weight of a token's loss by what the token is."""
        return {
            Kind.BRIEF: self.brief_weight,
            Kind.SYNTAX: 0.1,
            Kind.CHOICE: 0.2,
            Kind.LINE: 1.0,
            Kind.NEW: 1.0,
        }


def train(
    plan: Plan,
    data: Shards,
    held_out: Shards,
    directory: Path,
    *,
    compiled: bool = True,
    save_every: float = 240.0,
    progress: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Decoder:
    """Trains to `plan.tokens`, going on from `directory`'s checkpoint if one is there; returns the network.

    `compiled` asks for torch.compile; where there is no C++ compiler the steps run eagerly. Writes
    `checkpoint.pt` (every `save_every` seconds and at the end) and `curve.jsonl` (one row a report: tokens,
    loss, held_out: nats per learnt token of the calls, weighted as in training).
    """
    directory.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(plan.seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # torch's default leaves hardware threads idle
    network = Decoder(plan.shape).to(device)
    optimizers = _optimizers(network, plan)
    seen, epoch, skip = 0, 0, 0
    checkpoint = directory / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if json.loads(state["plan"])["shape"] != asdict(plan.shape):
            raise InputError(
                "checkpoint-shape",
                f"{checkpoint} holds a network of another shape.",
                "Train in another directory, or remove this one.",
            )
        network.load_state_dict(state["network"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        seen, epoch, skip = state["seen"], state["epoch"], state["skip"]
        progress(f"resumed at {seen:,} tokens")
    _cut_curve(directory / "curve.jsonl", seen)

    def loss_of(ids: torch.Tensor, picked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            hidden = network.hidden(ids[:, :-1])
            chosen = hidden.reshape(-1, hidden.shape[-1])[picked]
            logits = network.logits(chosen)
        losses = F.cross_entropy(logits.float(), ids[:, 1:].reshape(-1)[picked], reduction="none")
        return (losses * weights).sum() / weights.sum().clamp(min=1e-6)

    if compiled and not _can_compile():
        progress("no C++ compiler: the steps run eagerly, which is slower")
        compiled = False
    step = torch.compile(loss_of, dynamic=False) if compiled else loss_of
    started, spent, saved_at = time.monotonic(), 0, time.monotonic()
    reported = seen * REPORTS // plan.tokens if seen else -1
    recent: list[float] = []

    def save() -> None:
        state = {
            "network": network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "seen": seen,
            "epoch": epoch,
            "skip": skip,
            "plan": json.dumps(asdict(plan)),
        }
        torch.save(state, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)

    while seen < plan.tokens:
        for number, batch in enumerate(
            data.batches(plan.batch_tokens, plan.seed + epoch, plan.learnt_share, plan.weights())
        ):
            if number < skip:
                continue
            rate = _rate(seen / plan.tokens)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["base"] * rate
            loss = step(*_tensors(batch, device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            recent.append(loss.item())
            size = batch.ids.shape[0] * (batch.ids.shape[1] - 1)
            seen, spent, skip = seen + size, spent + size, number + 1
            if seen * REPORTS // plan.tokens != reported:
                reported = seen * REPORTS // plan.tokens
                value = _held_out(step, held_out, plan, device)
                row = {
                    "tokens": seen,
                    "loss": round(sum(recent) / len(recent), 4),
                    "held_out": round(value, 4),
                }
                recent.clear()
                with (directory / "curve.jsonl").open("a") as curve:
                    curve.write(json.dumps(row) + "\n")
                speed = spent / (time.monotonic() - started)
                left = (plan.tokens - seen) / speed / 60
                progress(f"{row} epoch {epoch} {speed:,.0f} tokens/s, {left:.0f} min left")
            if time.monotonic() - saved_at > save_every:
                save()
                saved_at = time.monotonic()
            if seen >= plan.tokens:
                break
        else:
            epoch, skip = epoch + 1, 0
    save()
    return network


def load(directory: Path) -> tuple[Decoder, dict[str, Any]]:
    """The network of a checkpoint and the plan it was trained by."""
    state = torch.load(directory / "checkpoint.pt", map_location="cpu", weights_only=True)
    plan = json.loads(state["plan"])
    network = Decoder(Shape(**plan["shape"]))
    network.load_state_dict(state["network"])
    return network, {**plan, "seen": state["seen"]}


def _can_compile() -> bool:
    """Whether the compiler that torch.compile calls is there: by torch's rule CXX, else the platform's."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return shutil.which(compiler) is not None


def _cut_curve(path: Path, seen: int) -> None:
    """Drops the rows of a curve that were written after the checkpoint at `seen` tokens."""
    if path.exists():
        rows = path.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if json.loads(row)["tokens"] <= seen]
        path.write_text("".join(row + "\n" for row in kept), encoding="utf-8")


def _optimizers(network: Decoder, plan: Plan) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in network.named_parameters() if p.dim() == 2 and not name.startswith("embed")]
    others = [p for name, p in network.named_parameters() if p.dim() != 2 or name.startswith("embed")]
    muon = Muon(matrices, lr=plan.matrix_rate, weight_decay=plan.weight_decay)
    adam = torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer, base in ((muon, plan.matrix_rate), (adam, plan.rate)):
        for group in optimizer.param_groups:
            group["base"] = base
    return [muon, adam]


def _rate(done: float) -> float:
    """The learning rate's factor after a share `done` of the tokens: warm-up over 2 %, linear fall to 0."""
    return min(done / 0.02 + 0.01, 1.0) * min(1.0, (1.0 - done) / 0.8 + 0.01)


def _tensors(batch: Batch, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.from_numpy(batch.ids).to(device),
        torch.from_numpy(batch.picked).to(device),
        torch.from_numpy(batch.weights).to(device),
    )


@torch.no_grad()
def _held_out(step: Callable[..., torch.Tensor], data: Shards, plan: Plan, device: str) -> float:
    """Mean loss over at most one batch a bucket of the held-out examples: line numbers and new text only."""
    total, count, seen = 0.0, 0, set[int]()
    for batch in data.batches(plan.batch_tokens, 0, plan.learnt_share, {Kind.LINE: 1.0, Kind.NEW: 1.0}):
        if batch.ids.shape[1] in seen:
            continue
        seen.add(batch.ids.shape[1])
        ids, picked, weights = _tensors(batch, device)
        total += step(ids, picked, weights).item()
        count += 1
        if len(seen) == len(BUCKETS):
            break
    return total / max(count, 1)
