"""Pydantic's findings about a parameter file as one line a user can act on."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from core.errors import did_you_mean
from core.params_schema import AdapterTraining, LoraTraining, Method, Params


def explain(error: ValidationError, content: dict[str, Any]) -> str:
    """The most useful of pydantic's findings as one line; unknown keys first, since they explain missing ones."""
    findings = error.errors(include_url=False)
    first = min(findings, key=lambda finding: finding["type"] != "extra_forbidden")
    # The tag of a discriminated union (lora, adapter) is part of pydantic's location but not of the file.
    location = [str(part) for part in first["loc"]]
    if len(location) > 2 and location[0] == "training" and location[2] in ("lora", "adapter"):
        del location[2]
    location = [part for part in location if part != "[key]"]
    key = ".".join(location)
    kind, found = first["type"], shown(first.get("input"))
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1], content)
        hint = did_you_mean(location[-1], known) or f"; known here: {', '.join(known)}"
        return f"unknown key '{key}'{hint}"
    if kind == "missing":
        return f"the key '{key}' is missing"
    if kind == "union_tag_not_found":
        return f"'{key}.kind' is missing; expected 'lora' or 'adapter'"
    if kind == "union_tag_invalid":
        return f"'{key}.kind' is {shown(first['input'].get('kind'))}; expected 'lora' or 'adapter'"
    wanted = _wanted(kind, first.get("ctx", {}), first["msg"])
    hint = ""
    if kind == "literal_error" and isinstance(first["input"], str):
        hint = did_you_mean(first["input"], [part.strip("' ") for part in wanted.split(" or ")])
    if kind in ("float_type", "int_type") and isinstance(first["input"], str) and _is_number(first["input"]):
        hint = "; take the quotes off"
    return f"'{key}' is {found}, expected {wanted}{hint}"


def _wanted(kind: str, context: dict[str, Any], message: str) -> str:
    """What pydantic expected, in the words of a sentence that starts with 'expected'."""
    simple = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
        "string_pattern_mismatch": "a name of lower-case letters, digits and underscores",
    }
    bounds = {"greater_than": ("gt", "more than"), "greater_than_equal": ("ge", "at least"),
              "less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}  # fmt: skip
    if kind in simple:
        return simple[kind]
    if kind in bounds:
        name, words = bounds[kind]
        return f"{words} {context[name]}"
    if kind == "literal_error":
        return str(context["expected"]).replace(", ", " or ")
    return message[:1].lower() + message[1:]


def _known_keys(location: list[str], content: dict[str, Any]) -> list[str]:
    """The keys that the mapping at this place may have."""
    model: type[BaseModel] = Params
    for depth, part in enumerate(location):
        if location[0] == "training" and depth == 1:
            kind = (content["training"].get(part) or {}).get("kind")
            model = LoraTraining if kind == "lora" else AdapterTraining
        elif location[0] == "methods" and depth == 1:
            model = Method
        else:
            annotation = model.model_fields[part].annotation
            for option in get_args(annotation) or (annotation,):  # also that of `Section | None`
                if isinstance(option, type) and issubclass(option, BaseModel):
                    model = option
    return list(model.model_fields)


def shown(value: Any) -> str:
    """A found value as it may be recognised in the file, not too long."""
    if isinstance(value, dict):
        return f"a mapping ({', '.join(map(str, list(value)[:4]))}{', ...' if len(value) > 4 else ''})"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    names: dict[Any, str] = {None: "empty", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "...'"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
