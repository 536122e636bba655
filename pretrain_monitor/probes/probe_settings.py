"""What a probe file may say, checked at the door. The keys are the keywords of the probes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

KINDS = ("perplexity", "choice", "facts", "tokenization")


class PerplexitySettings(BaseModel):
    """Keywords of ``PerplexityProbe``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    domains: dict[str, Any] = Field(min_length=1)
    tokenizer: str | None = None
    name: str = "heldout"
    context_length: int | None = Field(None, ge=1)
    windows: Literal["strided", "packed"] = "strided"
    stride: int | None = Field(None, ge=1)
    batch_tokens: int = Field(4096, ge=1)
    compressor: bool = True
    reference: str | None = None


class ChoiceSettings(BaseModel):
    """Keywords of ``ChoiceProbe``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    suites: dict[str, Any] | list[str] = Field(min_length=1)
    tokenizer: str | None = None
    name: str = "tasks"
    limit: int | None = Field(None, ge=1)
    context_length: int | None = Field(None, ge=1)
    prefix: bool = False
    batch_tokens: int = Field(4096, ge=1)


class FactSettings(BaseModel):
    """Keywords of ``FactProbe``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    facts: str
    tokenizer: str | None = None
    name: str = "facts"
    context_length: int | None = Field(None, ge=1)
    batch_tokens: int = Field(4096, ge=1)


class TokenizationSettings(BaseModel):
    """Keywords of ``TokenizationProbe``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    domains: dict[str, Any] | None = None
    tokenizer: str | None = None
    against: dict[str, str] | None = None
    parallel: dict[str, dict[str, Any]] | None = None
    name: str = "tokenization"


class Entry(BaseModel):
    """One probe."""

    model_config = ConfigDict(extra="forbid", strict=True)

    perplexity: PerplexitySettings | None = None
    choice: ChoiceSettings | None = None
    facts: FactSettings | None = None
    tokenization: TokenizationSettings | None = None
    every_steps: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _is_one_probe(self) -> Entry:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}, with its settings")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class Settings(BaseModel):
    """All of a probe file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tokenizer: str | None = None
    probes: list[Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _have_names_of_their_own(self) -> Settings:
        names = [getattr(entry, entry.kind).name for entry in self.probes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two probes are named {twice!r}; give one of them another name")
        return self
