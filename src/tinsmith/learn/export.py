"""From a trained network to a GGUF for llama.cpp: architecture `qwen3`, tied embedding, weights in Q8_0."""

import json
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer

from tinsmith.learn.network import Decoder
from tinsmith.learn.tokenizer import CONTROL, DELIMITERS, token_id

CHAT_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{%- endif %}"
)
"""For foreign programs that open the file; Tinsmith renders its own turns."""

_LAYER_NAMES = {
    "attn_norm.weight": "attn_norm.weight",
    "q.weight": "attn_q.weight",
    "k.weight": "attn_k.weight",
    "v.weight": "attn_v.weight",
    "o.weight": "attn_output.weight",
    "q_norm.weight": "attn_q_norm.weight",
    "k_norm.weight": "attn_k_norm.weight",
    "ffn_norm.weight": "ffn_norm.weight",
    "gate.weight": "ffn_gate.weight",
    "up.weight": "ffn_up.weight",
    "down.weight": "ffn_down.weight",
}


def export_gguf(network: Decoder, tokenizer: Tokenizer, path: Path, *, card: str, context: int) -> None:
    """Writes `network` and `tokenizer` to `path`. `card`: the id of the model card that the file names."""
    shape = network.shape
    part = path.with_name(path.name + ".part")  # so that an interruption leaves no half of a model
    writer = gguf.GGUFWriter(str(part), "qwen3")
    writer.add_name(card)
    writer.add_string("tinsmith.card", card)
    writer.add_license("Apache-2.0")
    writer.add_context_length(context)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    _add_tokenizer(writer, tokenizer)

    state = {name: tensor.detach().float().cpu().numpy() for name, tensor in network.state_dict().items()}
    _add(writer, "token_embd.weight", state["embed.weight"])
    _add(writer, "output_norm.weight", state["norm.weight"])
    for layer in range(shape.layers):
        for ours, theirs in _LAYER_NAMES.items():
            _add(writer, f"blk.{layer}.{theirs}", state[f"blocks.{layer}.{ours}"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(path)


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray) -> None:
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim == 1:
        writer.add_tensor(name, values)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    description = json.loads(tokenizer.to_str())
    merges = description["model"]["merges"]
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    tokens = [by_id[number] for number in range(len(by_id))]
    special: dict[str, gguf.TokenType] = {}
    special.update(dict.fromkeys(CONTROL, gguf.TokenType.CONTROL))
    special.update(dict.fromkeys(DELIMITERS, gguf.TokenType.USER_DEFINED))
    kinds = [special.get(token, gguf.TokenType.NORMAL) for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(token_id(tokenizer, "<|im_end|>"))
    writer.add_pad_token_id(token_id(tokenizer, "<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
