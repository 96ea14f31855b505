"""What a folder holds, to compare before and after."""

from pathlib import Path


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
