"""An audit as a JSON file, for other programs and for a later report; docs/audit.schema.json says what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ..audit.model import FORMAT, VERSION, Audit
from ..printable import shorten, shown_path
from .errors import ReportError
from .words import incidents_of


def json_of(audit: Audit) -> str:
    """Everything but the curves, which are in the log that was audited; one audit gives one text."""
    return audit.model_dump_json(exclude={"curves"}, indent=2) + "\n"


def read_audit(path: Path | str) -> Audit:
    """What ``json_of`` wrote; the audit that it gives has no curves.

    Raises:
        ReportError: no such file, no audit, one of another version, or one that has been damaged.
    """
    name = shown_path(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ReportError(f"{name}: no audit: its text is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise ReportError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ReportError(f"{name}: no audit: not JSON{where}; give a file that the audit wrote as JSON") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ReportError(f'{name}: no audit: "format" is not "{FORMAT}"; give a file that the audit wrote as JSON')
    if record.get("version") != VERSION:
        given = shorten(record.get("version"))
        raise ReportError(f"{name}: an audit of version {given}; this release reads version {VERSION}: audit again")
    try:
        audit = Audit.model_validate(record)
        incidents_of(audit)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"{name}: damaged audit: {shorten(where)}: {shorten(first['msg'])}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(f"{name}: damaged audit: incidents: {shorten(repr(error))}") from None
    return audit


def schema() -> dict[str, Any]:
    """JSON Schema of what ``json_of`` writes."""
    made = Audit.model_json_schema(schema_generator=_Schema)
    del made["properties"]["curves"]
    del made["$defs"]["Curve"]
    # Who validates is told of another version before anything else fails.
    made["properties"]["format"]["const"] = FORMAT
    made["properties"]["version"]["const"] = VERSION
    return {"$schema": GenerateJsonSchema.schema_dialect, **made}


class _Schema(GenerateJsonSchema):
    """Numbers may be spelled: JSON has no NaN."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), {"enum": ["NaN", "Infinity", "-Infinity"]}]}
