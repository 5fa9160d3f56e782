"""What pydantic refuses, as rules in our own words.

Its messages change with its releases; the types of its errors and what comes with them are what it
promises to keep.
"""

from collections.abc import Mapping
from typing import Any

from stationkeep.node.http.patterns import OWN_RULES, PATTERN_RULES

ELSE = "a value of the type and range that /docs gives"

_RULES = {
    "missing": "required",
    "extra_forbidden": "no such field",
    "model_attributes_type": "a JSON object (Content-Type: application/json)",
    "model_type": "a JSON object",
    "dict_type": "a JSON object",
    "list_type": "a list",
    "string_type": "a text",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_unicode": "a text of whole characters",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number within range",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}


def rule(error: Mapping[str, Any]) -> str:
    """The rule that one of pydantic's errors is about."""
    context = error.get("ctx", {})
    if error["type"] in OWN_RULES:
        return str(error["msg"])
    known = PATTERN_RULES.get(context.get("pattern")) or _RULES.get(error["type"], ELSE)
    try:
        return known.format_map(context)
    except KeyError:
        return ELSE
