# mypy: disallow-subclassing-any=False
"""WavLM's gated relative position bias (arXiv:2110.13900, section 3.1), written so that it exports."""

from typing import Any

import torch
from torch import Tensor, nn


class PositionBias(nn.Module):
    """The bias of every distance between two frames, as a table.

    Hugging Face's buckets come from a float32 logarithm; computed in the graph, a runtime whose logarithm differs in
    the last bit would put a distance into another bucket. The table holds what PyTorch computes, up to the distance
    from which on the bucket stays the same.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.reach = int(attention.max_distance)
        distances = torch.arange(-self.reach, self.reach + 1)
        buckets = attention._relative_positions_bucket(distances)  # noqa: SLF001 - the definition itself
        self.table = nn.Parameter(attention.rel_attn_embed.weight.detach()[buckets].clone())

    def forward(self, num_frames: int) -> Tensor:
        """-> [1, heads, F, F]: of each query (third axis) and key (fourth axis)."""
        position = torch.arange(num_frames, device=self.table.device)
        distance = torch.clamp(position.unsqueeze(0) - position.unsqueeze(1), -self.reach, self.reach)
        return self.table[distance + self.reach].permute(2, 0, 1).unsqueeze(0)


class GatedRelativeAttention(nn.Module):
    """Self-attention whose position bias is scaled by a gate computed from the query's frame."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.head_dim = attention.head_dim
        self.scaling = attention.scaling
        self.q_proj = attention.q_proj
        self.k_proj = attention.k_proj
        self.v_proj = attention.v_proj
        self.out_proj = attention.out_proj
        self.gate = attention.gru_rel_pos_linear
        self.gate_scale = attention.gru_rel_pos_const

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, position_bias: Tensor, **_: Any
    ) -> tuple[Tensor, None, Tensor]:
        """Hidden [B, F, H], mask [B, 1, 1, F] (added to the scores), bias [1, heads, F, F] -> [B, F, H], None, bias."""
        heads = self._split(hidden_states)
        gates = torch.sigmoid(self.gate(heads).unflatten(-1, (2, 4)).sum(-1))
        gate_a, gate_b = gates[..., 0:1], gates[..., 1:2]
        bias = (gate_a * (gate_b * self.gate_scale - 1.0) + 2.0) * position_bias
        query = self._split(self.q_proj(hidden_states)) * self.scaling
        key = self._split(self.k_proj(hidden_states))
        value = self._split(self.v_proj(hidden_states))
        weights = torch.softmax(torch.matmul(query, key.transpose(2, 3)) + bias + attention_mask, dim=-1)
        context = torch.matmul(weights, value).transpose(1, 2).flatten(2)
        return self.out_proj(context), None, position_bias

    def _split(self, hidden: Tensor) -> Tensor:
        """[B, F, heads * head_dim] -> [B, heads, F, head_dim]."""
        return hidden.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
