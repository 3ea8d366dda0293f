"""How descriptions are written: their values, and the commas between them."""

import ast


def literal(text):
    """A Python literal (true, false and none in any case), or else the text itself."""
    word = text.capitalize()
    try:
        return ast.literal_eval(word if word in ("True", "False", "None") else text)
    except (ValueError, SyntaxError):
        return text


def split_list(text):
    """What stands between the commas of a text, as a list; those within brackets are left alone.

    Args:
        text: String, such as `"jpeg_quality:factor=(50, 90),flip"`, a list of two.
    """
    parts, depth = [""], 0
    for letter in text:
        depth = max(depth + (letter in "([{") - (letter in ")]}"), 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
