"""Choose the part of a plan with which a trained checkpoint is refined: what has not been spoken yet, mostly in Hindi.

With --development, choose instead what tells which checkpoint is best: phrases kept for development, each once.

Of every three utterances two have a Hindi voice that is not held out, one has another; every other one of those is of
an English man, because they are what the checkpoint hears worst.
"""

import argparse
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

HINDI = frozenset({"hf_alpha", "hm_omega", "hm_psi"})
ENGLISH_MEN = ("am_", "bm_")
SLOWEST, FASTEST = 0.9, 1.1


def select(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return ``3 * count`` rows, or as many as there are: a fair mix in any prefix.

    Unblended voices at nearly normal speed only.
    """
    usable = [
        row for row in rows if not row["development"] and row["blend"] == 0 and SLOWEST <= row["speed"] <= FASTEST
    ]
    hindi = [row for row in usable if row["voice"] in HINDI]
    men = [row for row in usable if row["voice"].startswith(ENGLISH_MEN)]
    others = [row for row in usable if row["voice"] not in HINDI and not row["voice"].startswith(ENGLISH_MEN)]
    chosen = []
    for number in range(min(count, len(hindi) // 2, 2 * len(men), 2 * len(others))):
        chosen += [*hindi[2 * number : 2 * number + 2], (men if number % 2 else others)[number // 2]]
    return chosen


def select_development(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each phrase that is kept for development, by an unblended voice at nearly normal speed."""
    usable = (row for row in rows if row["development"] and row["blend"] == 0 and SLOWEST <= row["speed"] <= FASTEST)
    return list({row["text"]: row for row in usable}.values())


def main() -> None:
    """Write the chosen part of a plan beside a copy of its voices."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="folder that plan wrote")
    parser.add_argument("--skip", type=int, default=0, help="utterances at its start that have been spoken")
    parser.add_argument("--development", action="store_true", help="choose phrases kept for development")
    parser.add_argument("--count", type=int, default=1000, help="a third of the utterances to choose")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with gzip.open(arguments.plan / "plan.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    chosen = select_development(rows) if arguments.development else select(rows[arguments.skip :], arguments.count)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with gzip.open(arguments.output / "plan.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
    shutil.copy(arguments.plan / "voices.npz", arguments.output)
    print(f"{len(chosen)} utterances")


if __name__ == "__main__":
    main()
