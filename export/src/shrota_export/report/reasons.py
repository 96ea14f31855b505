"""Why something failed, as a report may say it: in one line, without folders of the machine."""

import re
from pathlib import Path
from typing import Any

FOLDERS = re.compile(r"(?<![\w.:/])(/[^/\s'\"`:;,()]+)/(?:[^/\s'\"`:;,()]+/)*")
"""Absolute paths up to the last part."""


def without_folders(text: str) -> str:
    """A text whose files have lost their folders.

    Tensors have names like paths (``/layers.0/attention/MatMul``): only what begins with a folder that there is counts.
    """
    return FOLDERS.sub(lambda found: "" if Path(found[1]).is_dir() else found[0], text)


def reason_of(error: BaseException, most: int = 300) -> str:
    """What an error says, in one line of at most so many characters; its type where it says nothing."""
    return without_folders(" ".join(str(error).split()))[:most] or type(error).__name__


def plain(content: Any) -> Any:
    """What JSON holds, with :func:`without_folders` on every text in it; names stay."""
    if isinstance(content, dict):
        return {name: plain(each) for name, each in content.items()}
    if isinstance(content, list | tuple):
        return [plain(each) for each in content]
    return without_folders(content) if isinstance(content, str) else content
