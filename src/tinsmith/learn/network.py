"""Solder's network: a Qwen3-family decoder in plain torch, small enough to read.

RMSNorm before attention and feed-forward, RMSNorm on each query and key head, rotary positions (half-split
form), grouped key-value heads, SwiGLU, tied embedding: llama.cpp's `qwen3` architecture, which a test holds
to within rounding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The sizes of a network. `ffn` and `d_model` are multiples of 256, so that any GGUF type fits."""

    layers: int = 4
    d_model: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 512
    vocabulary: int = 4096
    context: int = 4096
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis (torch's own falls to a slow path under bfloat16 autocast)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (x * scale.to(x.dtype)) * self.weight.to(x.dtype)


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.heads * shape.head_dim
        kv_width = shape.kv_heads * shape.head_dim
        self.attn_norm = RMSNorm(shape.d_model, eps=shape.norm_eps)
        self.q = nn.Linear(shape.d_model, width, bias=False)
        self.k = nn.Linear(shape.d_model, kv_width, bias=False)
        self.v = nn.Linear(shape.d_model, kv_width, bias=False)
        self.o = nn.Linear(width, shape.d_model, bias=False)
        self.q_norm = RMSNorm(shape.head_dim, eps=shape.norm_eps)
        self.k_norm = RMSNorm(shape.head_dim, eps=shape.norm_eps)
        self.ffn_norm = RMSNorm(shape.d_model, eps=shape.norm_eps)
        self.gate = nn.Linear(shape.d_model, shape.ffn, bias=False)
        self.up = nn.Linear(shape.d_model, shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        shape = self.shape
        h = self.attn_norm(x)
        q = self.q_norm(self.q(h).view(batch, length, shape.heads, shape.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k(h).view(batch, length, shape.kv_heads, shape.head_dim)).transpose(1, 2)
        v = self.v(h).view(batch, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        group = shape.heads // shape.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(attended.transpose(1, 2).reshape(batch, length, -1))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """The whole network: `hidden` to (batch, length, d_model), `logits` from that to (..., vocabulary)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocabulary, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.d_model, eps=shape.norm_eps)
        cos, sin = _rotary(shape)
        self.cos = nn.Buffer(cos, persistent=False)
        self.sin = nn.Buffer(sin, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scale = 0.02 / (2 * shape.layers) ** 0.5 if name.endswith(("o.weight", "down.weight")) else 0.02
                nn.init.normal_(parameter, std=scale)

    def hidden(self, ids: Tensor) -> Tensor:
        """ids: (batch, length) integers."""
        x = self.embed(ids)
        length = ids.shape[1]
        cos, sin = self.cos[:length].to(x.dtype), self.sin[:length].to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)

    def parameter_count(self) -> int:
        """All parameters, the tied embedding once."""
        return sum(parameter.numel() for parameter in self.parameters())


def _rotary(shape: Shape) -> tuple[Tensor, Tensor]:
    half = shape.head_dim // 2
    frequency = shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(shape.context, dtype=torch.float64)[:, None] * frequency[None]
    return angle.cos().float(), angle.sin().float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
