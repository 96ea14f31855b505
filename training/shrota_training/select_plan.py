"""Choose the part of a plan with which a trained checkpoint is refined: what has not been spoken yet, mostly in Hindi.

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
    others = [row for row in usable if row["voice"] not in HINDI]
    men = [row for row in others if row["voice"].startswith(ENGLISH_MEN)]
    chosen = []
    for number in range(min(count, len(hindi) // 2, len(men))):
        chosen += [*hindi[2 * number : 2 * number + 2], (men if number % 2 else others)[number]]
    return chosen


def main() -> None:
    """Write the chosen part of a plan beside a copy of its voices."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="folder that plan wrote")
    parser.add_argument("--skip", type=int, required=True, help="utterances at its start that have been spoken")
    parser.add_argument("--count", type=int, default=1000, help="a third of the utterances to choose")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with gzip.open(arguments.plan / "plan.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    chosen = select(rows[arguments.skip :], arguments.count)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with gzip.open(arguments.output / "plan.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
    shutil.copy(arguments.plan / "voices.npz", arguments.output)
    print(f"{len(chosen)} utterances")


if __name__ == "__main__":
    main()
