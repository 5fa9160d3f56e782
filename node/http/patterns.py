"""What texts of requests must look like, and how a refusal says so."""

from stationkeep.cluster.names import NAME_PATTERN, TEXT_PATTERN, TEXT_RULE

PRINTABLE = r"^[!-~]([ -~]*[!-~])?$"
NO_NUL = r"^[^\x00]*$"
VERSION_PATTERN = r"^([0-9a-f]{16})?$"
PATTERN_RULES = {
    VERSION_PATTERN: "the version of a list as a read showed it",
    NAME_PATTERN: "characters A-Z a-z 0-9 . _ -, beginning with a letter or digit",
    PRINTABLE: "printable ASCII without blanks at its ends",
    TEXT_PATTERN: TEXT_RULE,
    NO_NUL: "a text without the character NUL, which no process can be given",
}
"""What the patterns say, in words."""
OWN_RULES = frozenset({"duration", "flag", "address"})
"""Types of pydantic errors that our own validators raise, with messages of ours."""
