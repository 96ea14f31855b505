"""Transcripts that were made before: the JSON lines of ``shrota transcribe --format jsonl``, matched to a manifest."""

from collections.abc import Sequence
from pathlib import Path

from shrota_client.errors import ManifestError
from shrota_client.manifest import Utterance, read_json_lines
from shrota_client.score import UtteranceScore, score_utterance


def score_hypotheses(utterances: Sequence[Utterance], path: Path) -> list[UtteranceScore]:
    """Scores the transcripts in ``path`` against the manifest's references.

    A line is ``{"audio": …, "text": …}``. Its ``audio`` is matched as it is written in the manifest, else as a path,
    relative to the working folder or to the folder of ``path``. Lines that the manifest does not name are ignored.

    Raises:
        ManifestError: a line is not one, carries an error, or an utterance has no line.
    """
    found: dict[str, tuple[str, dict[str, object]]] = {}
    for place, fields in read_json_lines(path):
        audio = fields.get("audio")
        if not isinstance(audio, str):
            raise ManifestError(f'{place}: there is no "audio" with a path')
        for key in (audio, str(Path(audio).resolve()), str((path.parent / audio).resolve())):
            found.setdefault(key, (place, fields))
    scores, missing = [], []
    for utterance in utterances:
        match = found.get(utterance.name) or found.get(str(utterance.audio.resolve()))
        if match is None:
            missing.append(utterance.name)
            continue
        place, fields = match
        text = fields.get("text")
        if not isinstance(text, str):
            reason = f"it failed ({fields['error']})" if "error" in fields else 'there is no "text"'
            raise ManifestError(f"{place}: {reason}: transcribe {utterance.name} again")
        duration, elapsed_s = (_number(fields.get(name)) for name in ("duration", "elapsed_s"))
        scores.append(score_utterance(utterance.name, utterance.text or "", text, duration, elapsed_s))
    if missing:
        raise ManifestError(
            f"{path} has no transcript of {missing[0]} and {len(missing) - 1} others of {len(utterances)}: add them"
            if len(missing) > 1
            else f"{path} has no transcript of {missing[0]}: add it"
        )
    return scores


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
