"""Predicted and real speed on this machine, with the plan's own constants: what docs/fit.md says of our own rows.

A dense model of 0.3 billion random weights is written in Q4_K and in Q8_0, large enough to lie in memory and not in a
cache. Reading a prompt and writing tokens are timed by the processor time of the engine, since other programs may
run, and set beside what `tinsmith.models.plan_speed` predicts. Ends non-zero where a prediction is off by more than
a factor of two and a half.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tinsmith.engines import GREEDY, EmbeddedEngine, open_engine
from tinsmith.models import EngineOptions, plan_for, read_layout, this_machine
from tinsmith.models.random_weights import Shape, small_vocabulary

SHAPE = Shape(layers=6, d_model=2048, heads=16, kv_heads=8, head_dim=128, ffn=6144, context=8192)
PROMPT, WRITTEN, PASSES = 512, 64, 6
OFF = 2.5


def write_quantised(path: Path, kind: str) -> Path:
    """A Qwen3-architecture model of `SHAPE` in `kind`. The numbers do not matter to the time that they take."""
    import gguf
    import numpy

    draw = numpy.random.default_rng(0)
    type_ = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[type_]
    tokens = small_vocabulary()
    texts = list(tokens.texts)
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(SHAPE.layers)
    writer.add_context_length(SHAPE.context)
    writer.add_embedding_length(SHAPE.d_model)
    writer.add_feed_forward_length(SHAPE.ffn)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.kv_heads)
    writer.add_key_length(SHAPE.head_dim)
    writer.add_value_length(SHAPE.head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types([3 if text in tokens.control else 4 if text in tokens.delimiters else 1 for text in texts])
    writer.add_token_merges(list(tokens.merges))
    writer.add_eos_token_id(texts.index(tokens.end))

    def weight(name: str, rows: int, columns: int) -> None:
        data = draw.integers(0, 256, (rows, columns // block, size), dtype=numpy.uint8)
        data[:, :, :2] = numpy.frombuffer(numpy.float16(0.001).tobytes(), numpy.uint8)  # the scale of a block
        if kind == "Q4_K":
            data[:, :, 2:4] = 0  # and of its minimum
        writer.add_tensor(name + ".weight", data.reshape(rows, -1), raw_dtype=type_)

    def norm(name: str, width: int) -> None:
        writer.add_tensor(name + ".weight", numpy.ones(width, dtype=numpy.float32))

    d, q, kv = SHAPE.d_model, SHAPE.heads * SHAPE.head_dim, SHAPE.kv_heads * SHAPE.head_dim
    weight("token_embd", len(texts), d)
    norm("output_norm", d)
    for layer in (f"blk.{number}." for number in range(SHAPE.layers)):
        norm(layer + "attn_norm", d)
        norm(layer + "attn_q_norm", SHAPE.head_dim)
        norm(layer + "attn_k_norm", SHAPE.head_dim)
        norm(layer + "ffn_norm", d)
        weight(layer + "attn_q", q, d)
        weight(layer + "attn_k", kv, d)
        weight(layer + "attn_v", kv, d)
        weight(layer + "attn_output", d, q)
        weight(layer + "ffn_gate", SHAPE.ffn, d)
        weight(layer + "ffn_up", SHAPE.ffn, d)
        weight(layer + "ffn_down", d, SHAPE.ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def measured(path: Path, options: EngineOptions) -> tuple[float, float]:
    """Tokens/s read and written per core, by the processor time of the engine: the best pass, since threads that wait
    for each other on a busy machine use it up."""
    with open_engine(path, options=options) as engine:
        ids = [40 + number % 150 for number in range(PROMPT)]
        engine.generate(ids[:64], limit=1, sampling=GREEDY)  # pages are mapped, threads are there
        best_read = best_written = 0.0
        for number in range(PASSES):
            prompt = [number, *ids]  # nothing of it is cached
            begun = _seconds(engine)
            engine.warm(prompt)
            read = _seconds(engine)
            rest = engine.generate(prompt, limit=WRITTEN, sampling=GREEDY)
            written = _seconds(engine)
            best_read = max(best_read, PROMPT / (read - begun))
            best_written = max(best_written, len(rest.ids) / (written - read))
    return best_read, best_written


def _seconds(engine: EmbeddedEngine) -> float:
    fields = Path(f"/proc/{engine.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prints a row for each quant and a verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, help="Where the speed of this machine is remembered.")
    given = parser.parse_args()
    machine = this_machine(state_dir=given.state_dir, may_measure=True).with_gpus(())
    print(machine.described(), f"{machine.compute / 1e9:.0f} GFLOP/s", sep="; ")
    worst = 1.0
    with tempfile.TemporaryDirectory() as place:
        for kind in ("Q4_K", "Q8_0"):
            path = write_quantised(Path(place) / f"{kind}.gguf", kind)
            layout = read_layout(path)
            plan: Any = plan_for(layout.geometry(), layout.weights(), machine, 1024)
            read, written = (speed * machine.cores for speed in measured(path, plan.engine_options()))
            for what, real, said in (("read", read, plan.speed.prefill), ("written", written, plan.speed.decode)):
                worst = max(worst, real / said, said / real)
                print(f"{kind}: {real:.0f} tokens/s {what}, predicted {said:.0f} ({said / real - 1:+.0%})")
            print(f"{kind}: {written * layout.weights().read_per_token() / machine.cores / 1e9:.1f} GB/s a core")
    print(f"{'held' if worst <= OFF else 'NOT held'}: the worst prediction is off by a factor of {worst:.2f}")
    sys.exit(worst > OFF)


if __name__ == "__main__":
    main()
