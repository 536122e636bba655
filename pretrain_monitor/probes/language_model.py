"""How a probe gets predictions out of a model, whatever kind of model it is."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import ProbeError

# Logits that a head computes at a time: enough for it to run at full speed, few enough to be small beside the model.
_HEAD_CPU, _HEAD_DEVICE = 2**23, 2**25
# Logits that are handed out at a time: so few that a processor keeps them in its cache from one step to the next.
_PART_CPU, _PART_DEVICE = 2**18, 2**25

_LONGEST = 2048

# Whether the head by itself gives a model's logits, by the precision they are computed in and the head's identity.
_checked_heads: weakref.WeakKeyDictionary[nn.Module, dict[tuple[torch.dtype, int], bool]] = weakref.WeakKeyDictionary()

# Names under which models of all sorts keep the longest text they can read.
_CONTEXT_NAMES = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "block_size",
    "context_length", "n_ctx",
)  # fmt: skip

# Models with these scale or bend their logits after the head, so that the head alone tells something else.
_BENDING = (
    "final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "output_multiplier_scale",
    "lm_head_multiplier",
)  # fmt: skip

# Kinds of layers that read what a mask lets them, and nothing else. Convolutions and recurrences read all that stands
# before; "local" attention counts places in the row.
_OBEDIENT = {"full_attention", "sliding_attention", "chunked_attention", "global", "attention"}
# How far back some of them look, by themselves.
_WINDOWS = ("sliding_window", "attention_chunk_size")


class LanguageModel:
    """A causal language model as probes see it: token ids in, predictions at chosen places out.

    A Hugging Face model is asked for its last hidden states, and its head only for the predictions that count: the
    logits of a whole batch are never in memory together. Whether that gives the model's own logits is checked once
    on a few tokens; where it does not, and for every other module, the logits are taken as the model returns them.

    Args:
        model: as it is trained: wrapped by DDP, FSDP, Fabric or ``torch.compile``, or a LightningModule.
        forward: ``forward(model, input_ids)`` that returns logits, if the model does not when called with token ids.
        context_length: longest row that may be read; None: what the model can read, but no more than 2,048.

    Raises:
        ProbeError: nothing to call was found, or nobody knows the context length.
    """

    def __init__(
        self,
        model: Any,
        *,
        forward: Callable[[Any, Tensor], Any] | None = None,
        context_length: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ProbeError(f"a probe measures a torch module, got {type(model).__name__}")
        self.root = model
        self._forward = forward
        self.module = language_model_in(model) if forward is None else model
        if forward is None and _has_no_forward(self.module):
            raise ProbeError(
                f"{type(self.module).__name__} has no forward of its own: give forward=, a function of the model and "
                "the token ids that returns logits"
            )
        inner = getattr(self.module, "_original_module", self.module)  # Fabric's wrapper knows the precision
        self.is_hugging_face = forward is None and hasattr(inner, "get_output_embeddings") and hasattr(inner, "config")
        self.config = getattr(inner, "config", None)
        if self.is_hugging_face and getattr(self.config, "is_encoder_decoder", False):
            raise ProbeError(f"{type(inner).__name__} reads and writes separately: probes measure causal models only")
        if self.is_hugging_face and type(inner).__name__.endswith("ForMaskedLM"):
            raise ProbeError(f"{type(inner).__name__} sees what it is asked for: probes measure causal models only")
        # A function of the user's own may ask a module that does not know its sizes for a model's logits.
        known = inner if forward is None else _sized_model_in(model)
        self.context_length = _context_length(known, context_length)
        self.vocabulary = _vocabulary(known)
        self.device = _device(inner)
        self.is_sharded = _is_sharded(model)
        self._head = self._separate_head(inner) if self.is_hugging_face and not self.is_sharded else None

    @property
    def precision(self) -> float:
        """Relative size of a rounding in the model's forward pass, here and now."""
        return torch.finfo(self._compute_dtype()).eps

    def may_take_trees(self, longest: int) -> bool:
        """Whether rows in which texts share their beginning may be tried on this model.

        Args:
            longest: tokens of the longest text in them.
        """
        if not self.is_hugging_face or getattr(self.config, "_attn_implementation", None) not in ("sdpa", "eager"):
            return False
        config: Any = self.config
        if hasattr(config, "get_text_config"):
            config = config.get_text_config()
        # Known beforehand, since trying shows nothing on a model that has not begun to learn.
        kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
        if getattr(self.module, "_is_stateful", False) or not _OBEDIENT.issuperset(kinds):
            return False
        # A mask of our own takes the place of the model's window.
        windows = [window for name in _WINDOWS if (window := getattr(config, name, None))]
        if longest > min(windows, default=longest):
            return False
        parameters = inspect.signature(self.module.forward).parameters
        return {"attention_mask", "position_ids"} <= set(parameters)

    def predictions(
        self, ids: Tensor, flat: Tensor, *, sees: Tensor | None = None, positions: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Logits at chosen places, a few at a time: (which of the places, shape (places, vocabulary)).

        They belong to the caller, who may compute in place. On a processor in float32; elsewhere as the head gives
        them, for there a copy costs as much as the work on it.

        Args:
            ids: shape (rows, tokens), on the model's device.
            flat: shape (places,), each as row x tokens + position.
            sees: shape (rows, tokens, tokens), which tokens each one sees; None: all before it.
            positions: shape (rows, tokens), place of each token in its own text.

        Raises:
            ProbeError: the model returns no logits, or not one row of them for each token.
        """
        extra = {} if sees is None else self._masked(sees, positions)
        if self._head is not None:
            base, compute, width = self._head
            hidden = base(input_ids=ids, use_cache=False, **extra)[0]
            states = hidden.reshape(-1, hidden.shape[-1])
        else:
            states = self._logits(ids, extra)
            states = states.reshape(-1, states.shape[-1])
            width, compute = states.shape[-1], None
        is_cpu = states.device.type == "cpu"
        few = max(1, (_PART_CPU if is_cpu else _PART_DEVICE) // width)
        many = few if compute is None else max(few, (_HEAD_CPU if is_cpu else _HEAD_DEVICE) // width)
        flat = flat.to(states.device)
        for start in range(0, len(flat), many):
            chosen = states.index_select(0, flat[start : start + many])
            logits = chosen if compute is None else compute(chosen)
            for first in range(0, len(logits), few):
                part = logits[first : first + few]
                part = part.float() if is_cpu else part
                yield slice(start + first, start + first + len(part)), part
            del logits, part  # or they would be there beside the next ones

    def check_head(self, ids: Tensor) -> None:
        """Stop using the head by itself if it does not give the model's own logits for these few tokens."""
        if self._head is None:
            return
        # Once for a model: on a device two short forward passes take as long as two full ones.
        checked = _checked_heads.setdefault(self.module, {})
        as_it_is = self._compute_dtype(), id(self._head[1])
        if as_it_is not in checked:
            checked[as_it_is] = self._is_head_alike(ids)
        if not checked[as_it_is]:
            self._head = None

    def _is_head_alike(self, ids: Tensor) -> bool:
        whole = self._logits(ids, {}).float()
        flat = torch.arange(ids.numel(), device=ids.device)
        parts = torch.cat([logits.float() for _, logits in self.predictions(ids, flat)]).view(whole.shape)
        # Both go through the same kernels; what is compared are a few roundings, or a bend that one of them lacks.
        allowed = 4 * self.precision * max(1.0, float(whole.abs().max()))
        return bool((whole - parts).abs().max() <= allowed)

    def _logits(self, ids: Tensor, extra: Mapping[str, Any]) -> Tensor:
        if self._forward is not None:
            output = self._forward(self.root, ids)
        elif self.is_hugging_face:
            output = self.module(input_ids=ids, use_cache=False, **extra)
        else:
            output = self.module(ids)
        return _logits_in(output, ids, type(self.module).__name__)

    def _separate_head(self, inner: Any) -> tuple[Any, Any, int] | None:
        head = inner.get_output_embeddings()
        base = getattr(inner, "base_model", None)
        config = inner.config.get_text_config() if hasattr(inner.config, "get_text_config") else inner.config
        bends = any(getattr(config, name, None) not in (None, 1, 1.0) for name in _BENDING)
        if head is None or base is None or base is inner or bends or self.module is not inner:
            return None
        width = head_width(head)
        # Without it, as in an adapter of the user's own around a layer, nobody knows how much to compute at a time.
        return None if width is None else (base, head, width)

    def _compute_dtype(self) -> torch.dtype:
        if torch.is_autocast_enabled(self.device.type):
            return torch.get_autocast_dtype(self.device.type)
        dtype = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)
        return dtype if dtype.itemsize <= 4 else torch.float32

    def _masked(self, sees: Tensor, positions: Tensor | None) -> dict[str, Any]:
        mask = sees.unsqueeze(1)
        if getattr(self.config, "_attn_implementation", None) == "eager":
            # It adds the mask to the scores instead of choosing by it.
            dtype = self._compute_dtype()
            mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
        return {"attention_mask": mask, "position_ids": positions}


def head_width(head: Any) -> int | None:
    """Size of the vocabulary that an output layer predicts over; None if it does not say."""
    width = getattr(head, "out_features", None)
    if width is None and isinstance(weight := getattr(head, "weight", None), Tensor):
        width = weight.shape[0]
    return None if width is None else int(width)


def language_model_in(model: nn.Module) -> nn.Module:
    """What is inside wrappers that would compile, or talk to other ranks, for nothing."""
    while True:
        if isinstance(inside := getattr(model, "_orig_mod", None), nn.Module):
            model = inside
        elif isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        else:
            break
    if hasattr(model, "automatic_optimization") and hasattr(model, "training_step"):
        # A LightningModule's own forward may be anything; a language model in it is not.
        inner = [child for child in model.children() if hasattr(child, "get_output_embeddings")]
        if not inner and _has_no_forward(model):
            inner = list(model.children())
        if len(inner) == 1:
            return language_model_in(inner[0])
    return model


def _sized_model_in(model: nn.Module) -> nn.Module:
    """What knows the sizes of the language model that a function of the user's own asks somewhere in a module."""
    outer = language_model_in(model)
    if _said_by_model(outer, _CONTEXT_NAMES) is not None:
        return outer
    inner = _sized_children(outer)
    # A copy with averaged weights has the same sizes; of models that differ nobody knows which one is asked.
    sizes = {(_said_by_model(child, _CONTEXT_NAMES), _vocabulary(child)) for child in inner}
    # A table outside may be that of the tokens, and the child has another.
    is_whole = set(_embeddings(outer)) == {table for child in inner for table in _embeddings(child)}
    return inner[0] if len(sizes) == 1 and is_whole else outer


def _sized_children(module: nn.Module) -> list[nn.Module]:
    """The outermost parts that have a table of embeddings and say how many tokens they read."""
    found: list[nn.Module] = []
    for child in module.children():
        is_sized = _said_by_model(child, _CONTEXT_NAMES) is not None and _embeddings(child)
        found += [child] if is_sized else _sized_children(child)
    return found


def _embeddings(module: nn.Module) -> list[nn.Embedding]:
    return [part for part in module.modules() if isinstance(part, nn.Embedding)]


def _has_no_forward(model: nn.Module) -> bool:
    # Both bases have one that only says that it is missing.
    name = getattr(type(model).forward, "__qualname__", "")
    return name in ("LightningModule.forward", "_forward_unimplemented")


def _context_length(inner: Any, given: int | None) -> int:
    largest = _said_by_model(inner, _CONTEXT_NAMES)
    if given is not None:
        if largest is not None and given > largest:
            raise ProbeError(f"context_length={given}: the model reads {largest} tokens at most")
        return given
    if largest is None:
        raise ProbeError("nothing in the model says how many tokens it can read: give context_length")
    # Many configurations name a length that the model is not trained on yet.
    return min(largest, _LONGEST)


def _said_by_model(inner: Any, names: Sequence[str]) -> int | None:
    """A size that a model's configuration, or the model itself, gives under the first of these names that it has."""
    config: Any = getattr(inner, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    if isinstance(config, Mapping):
        values = [config.get(name) for name in names]
    else:
        values = [getattr(place, name, None) for place in (config, inner) for name in names]
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def _vocabulary(inner: Any) -> int | None:
    """Rows of the token embedding: an id beyond it would end a training on CUDA. None if there is no embedding."""
    get = getattr(inner, "get_input_embeddings", None)
    try:
        table = get() if get is not None else None
    except NotImplementedError:
        table = None
    if isinstance(table, nn.Embedding):
        return table.num_embeddings
    sizes = {table.num_embeddings for table in _embeddings(inner)}
    # One with a row for each position may be the largest. Token embeddings are often padded beyond the vocabulary.
    known = _said_by_model(inner, ("vocab_size",))
    if known is not None and any(size >= known for size in sizes):
        return min(size for size in sizes if size >= known)
    return max(sizes - {_said_by_model(inner, _CONTEXT_NAMES)} or sizes, default=None)


def _device(module: nn.Module) -> torch.device:
    for tensor in (*module.parameters(), *module.buffers()):
        if hasattr(tensor, "device_mesh") and tensor.device_mesh.device_type != "cpu":
            # Parameters that rest on the host are computed with elsewhere.
            kind = tensor.device_mesh.device_type
            return torch.device(kind, getattr(torch, kind).current_device())
        return tensor.device
    return torch.device("cpu")


def _is_sharded(model: nn.Module) -> bool:
    """Whether a forward pass talks to other ranks, so that all of them have to make it together."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    return any(hasattr(p, "device_mesh") or hasattr(p, "ds_id") for p in model.parameters())


def _logits_in(output: Any, ids: Tensor, name: str) -> Tensor:
    logits = output
    if not isinstance(output, Tensor):
        logits = getattr(output, "logits", None)
        if logits is None and isinstance(output, Mapping):
            logits = output.get("logits")
        if logits is None and isinstance(output, tuple | list):
            logits = next((part for part in output if isinstance(part, Tensor) and part.dim() == 3), None)
    if not isinstance(logits, Tensor):
        raise ProbeError(
            f"{name} returns {type(output).__name__} without logits: give forward=, a function of the model and the "
            "token ids that returns them"
        )
    if hasattr(logits, "full_tensor"):
        logits = logits.full_tensor()
    if logits.dim() != 3 or logits.shape[:2] != ids.shape:
        raise ProbeError(
            f"{name} returns logits of shape {tuple(logits.shape)} for token ids of shape {tuple(ids.shape)}: give "
            "forward=, a function of the model and the token ids that returns logits for every token"
        )
    found: Tensor = logits
    return found
