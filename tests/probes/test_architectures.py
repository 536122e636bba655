"""Causal models of many kinds, tiny and with random weights: read in batches they say what they say one by one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers

from pretrain_monitor.probes.language_model import LanguageModel
from pretrain_monitor.probes.rows import plain_row
from pretrain_monitor.probes.scoring import score
from pretrain_monitor.probes.shared_rows import shared_rows
from tests.tiny_models import direct_nats

LONGEST = 60  # tokens of a text in these tests
WIDE, NARROW = 64, 8  # windows of attention: wider than any text, and not

OLD_SIZES = {"vocab_size": 256, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
SIZES = {
    "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 8, "head_dim": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip


class Kind(NamedTuple):
    """An architecture, the sizes to make it with, and whether texts that share their beginning may share a row."""

    name: str
    sizes: dict[str, Any]
    may_share: bool = True
    model: str = ""
    config: str = ""


KINDS = {
    "gpt2": Kind("GPT2", OLD_SIZES, model="GPT2LMHeadModel"),
    "gptj": Kind("GPTJ", {**OLD_SIZES, "rotary_dim": 4}),
    # Its local layers count places in the row, however short a text is.
    "gpt_neo": Kind(
        "GPTNeo",
        {
            "vocab_size": 256, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 256,
            "attention_types": [[["global", "local"], 1]], "window_size": WIDE,
        },
        may_share=False,
    ),
    "gpt_neox": Kind("GPTNeoX", SIZES),
    "bloom": Kind("Bloom", {"vocab_size": 256, "hidden_size": 32, "n_layer": 2, "n_head": 4}, may_share=False),
    "mpt": Kind("Mpt", {"vocab_size": 256, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}, False),
    "opt": Kind("OPT", {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "falcon": Kind("Falcon", {name: size for name, size in SIZES.items() if name != "head_dim"}),
    "stablelm": Kind("StableLm", SIZES),
    "phi3": Kind("Phi3", SIZES),
    "llama": Kind("Llama", SIZES),
    "mistral": Kind("Mistral", {**SIZES, "sliding_window": WIDE}),
    "mistral, narrow window": Kind("Mistral", {**SIZES, "sliding_window": NARROW}, may_share=False),
    "mixtral": Kind("Mixtral", {**SIZES, "num_local_experts": 4}),
    "llama4": Kind(
        "Llama4",
        {**SIZES, "num_local_experts": 2, "attention_chunk_size": WIDE, "intermediate_size_mlp": 64},
        config="Llama4TextConfig",
    ),
    "llama4, short chunks": Kind(
        "Llama4",
        {**SIZES, "num_local_experts": 2, "attention_chunk_size": NARROW, "intermediate_size_mlp": 64},
        may_share=False,
        config="Llama4TextConfig",
    ),
    "qwen2": Kind("Qwen2", SIZES),
    "qwen2_moe": Kind("Qwen2Moe", {**SIZES, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32}),
    "qwen3": Kind("Qwen3", SIZES),
    "qwen3_next": Kind(
        "Qwen3Next",
        {
            **SIZES, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16, "linear_num_key_heads": 2,
            "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
        may_share=False,
    ),
    "gemma2": Kind("Gemma2", {**SIZES, "sliding_window": WIDE, "final_logit_softcapping": 0.5}),
    "gemma2, narrow window": Kind("Gemma2", {**SIZES, "sliding_window": NARROW}, may_share=False),
    "gemma3": Kind(
        "Gemma3", {**SIZES, "sliding_window": WIDE, "num_hidden_layers": 6}, config="Gemma3TextConfig"
    ),
    "olmo2": Kind("Olmo2", SIZES),
    "olmo3": Kind("Olmo3", {**SIZES, "sliding_window": WIDE}),
    "granite": Kind("Granite", {**SIZES, "logits_scaling": 0.2, "embedding_multiplier": 3.0}),
    "cohere": Kind("Cohere", {**SIZES, "logit_scale": 4.0}),
    "gpt_oss": Kind("GptOss", {**SIZES, "sliding_window": WIDE, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek_v3": Kind("DeepseekV3", {**SIZES, **EXPERTS, **LATENT}),
    "mamba": Kind("Mamba", {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, False),
    "lfm2": Kind("Lfm2", {**SIZES, "layer_types": ["conv", "full_attention"]}, may_share=False),
    "jamba": Kind(
        "Jamba",
        {
            **SIZES, "num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4, "attn_layer_period": 2,
            "attn_layer_offset": 1, "use_mamba_kernels": False,
        },
        may_share=False,
    ),
    "recurrent_gemma": Kind(
        "RecurrentGemma",
        {**SIZES, "lru_width": 32, "attention_window_size": WIDE, "num_hidden_layers": 3, "logits_soft_cap": 0.5},
        may_share=False,
    ),
}  # fmt: skip


def made(kind: Kind) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, kind.config or f"{kind.name}Config")(**kind.sizes)
    model = getattr(transformers, kind.model or f"{kind.name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # As they are made, they hardly look at what came before.
            parameter *= 4.0 if parameter.dim() > 1 else 1.0
    return model


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two would wait for each other at every one of the tiny layers
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=list(KINDS))
def known(request) -> tuple[Kind, Any]:
    kind = KINDS[request.param]
    return kind, made(kind)


def test_texts_in_padded_batches_cost_what_each_costs_by_itself(known):
    _, model = known
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 256, size).tolist() for size in (2, 3, 17, 40, LONGEST)]
    rows = [plain_row(ids, 1, number) for number, ids in enumerate(texts)]
    found = score(LanguageModel(model, context_length=LONGEST), rows, len(texts), batch_tokens=120).nats
    assert found == pytest.approx([direct_nats(model, ids) for ids in texts], rel=1e-6)


def test_answers_that_share_a_row_cost_what_each_costs_by_itself(known):
    kind, model = known
    reader = LanguageModel(model, context_length=256)
    assert reader.may_take_trees(LONGEST) is kind.may_share
    if kind.may_share:
        found, alone = shared_and_alone(reader, model)
        assert found == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("name", ["gpt_neo", "mistral, narrow window", "llama4, short chunks", "lfm2", "jamba"])
def test_models_that_may_not_share_would_say_something_else(name):
    model = made(KINDS[name])
    found, alone = shared_and_alone(LanguageModel(model, context_length=256), model)
    assert found != pytest.approx(alone, rel=1e-3)


def shared_and_alone(reader: LanguageModel, model: Any) -> tuple[Any, list[float]]:
    """What answers to three questions cost after the same examples, in one row and one by one."""
    rng = np.random.default_rng(0)
    examples = rng.integers(3, 256, 34).tolist()
    contexts, ends = [], []
    for length in (5, 18, 2):
        context = examples + rng.integers(3, 256, length).tolist()
        contexts += [context] * 3
        ends += [rng.integers(3, 256, size).tolist() for size in (1, 8, 4)]
    rows = shared_rows(contexts, ends, [3, 3, 3], 0)
    # A row may be longer than what a model looks back on, its texts may not.
    assert max(map(len, rows)) > WIDE
    alone = [direct_nats(model, [*c, *e], first=len(c)) for c, e in zip(contexts, ends, strict=True)]
    return score(reader, rows, len(ends)).nats, alone
