"""BERT's layers, called one after the other.

A short batch costs a model as much for being called as for what it computes: of ten texts in bfloat16 a sixth was
spent on the way through the modules of a library that serves many models. Here the same weights are given to the same
functions of torch, without that way. Whoever uses it compares vectors first, as with every other engine.

References
----------
Devlin, J., Chang, M.-W., Lee, K., Toutanova, K. (2019). BERT: pre-training of deep bidirectional transformers. NAACL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

_ACTIVATION: Final = "gelu"


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, *modules: Any) -> _Linear:
        """One for several, whose outputs stand side by side."""
        import torch

        if len(modules) == 1:
            return cls(modules[0].weight, modules[0].bias)
        return cls(torch.cat([each.weight for each in modules]), torch.cat([each.bias for each in modules]))

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        return torch.nn.functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, module: Any) -> _Norm:
        return cls(module.weight, module.bias, module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        return torch.nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: _Linear
    attended: _Linear
    first: _Norm
    wide: _Linear
    narrow: _Linear
    second: _Norm

    @classmethod
    def of(cls, module: Any) -> _Layer:
        attention = module.attention
        return cls(
            _Linear.of(attention.self.query, attention.self.key, attention.self.value),
            _Linear.of(attention.output.dense),
            _Norm.of(attention.output.LayerNorm),
            _Linear.of(module.intermediate.dense),
            _Linear.of(module.output.dense),
            _Norm.of(module.output.LayerNorm),
        )

    def __call__(self, x: Tensor, bias: Tensor, heads: int) -> Tensor:
        import torch

        rows, tokens, width = x.shape
        parts = self.qkv(x).view(rows, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        seen = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self.first(self.attended(seen.transpose(1, 2).reshape(rows, tokens, width)).add_(x))
        return self.second(self.narrow(torch.nn.functional.gelu(self.wide(x))).add_(x))


class Bert:
    """The layers of a `BertModel` with weights as they are, in their precision, for inference.

    Parameters
    ----------
    model
        A loaded `transformers.BertModel` that `is_bert`. Its weights are shared, but for those of queries, keys and
        values, which are copied to stand side by side.
    """

    def __init__(self, model: Any) -> None:
        embeddings = model.embeddings
        self._words: Tensor = embeddings.word_embeddings.weight
        # Every text is a first sentence.
        self._places: Tensor = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        self._norm = _Norm.of(embeddings.LayerNorm)
        self._heads = int(model.config.num_attention_heads)
        self._layers = [_Layer.of(layer) for layer in model.encoder.layer]

    def __call__(self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token vectors, shape (rows, tokens, d).

        Parameters
        ----------
        input_ids, position_ids
            Shape (rows, tokens).
        attention_mask
            Which token sees which, booleans of shape (rows, 1, tokens, tokens).
        """
        import torch

        functional = torch.nn.functional
        bias = torch.zeros(attention_mask.shape, dtype=self._words.dtype)
        bias.masked_fill_(attention_mask.logical_not(), float("-inf"))
        x = functional.embedding(input_ids, self._words) + functional.embedding(position_ids, self._places)
        x = self._norm(x)
        for layer in self._layers:
            x = layer(x, bias, self._heads)
        return x


def is_bert(model: Any) -> bool:
    """Whether a transformer is built of what `Bert` calls."""
    config = getattr(model, "config", None)
    return (
        type(model).__name__ == "BertModel"
        and getattr(config, "hidden_act", None) == _ACTIVATION
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and not getattr(config, "is_decoder", False)
    )
