"""Text in LaTeX: names of methods and prompts are anybody's, and the tables have to compile."""

_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "*": "{*}",  # the last two would belong to the \\ of the row before
    "≈": r"$\approx$", "→": r"$\to$", "<": r"$<$", ">": r"$>$", "–": "--", "×": r"$\times$",
}  # fmt: skip


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands, in one line."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
