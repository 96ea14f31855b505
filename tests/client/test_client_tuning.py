"""A search for the decoder's weights that ends too early: what it found is printed. The server is a fake one."""

import asyncio
import inspect
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from shrota_client import AsyncClient, Client, Decoding, LogProbs, ServerError, Transcript
from shrota_client.commands.options import Connection
from shrota_client.commands.tune_decoder import tune_decoder
from shrota_client.tuning import tune

GRID = ["--lm-weight", "0.5:1:0.5", "--word-score", "0:1:1", "--refine", "0", "-j", "1"]
TABLE = """\
lm_weight  word_score        word error rate  character error rate
greedy                                 0.0 %                 0.0 %
beam without language model            0.0 %                 0.0 %
      0.5           0                  0.0 %                 0.0 %
      0.5           1                 50.0 %                33.3 %
"""


class FakeClient:
    """Says "क" or, where a word score counts, "कख"; ``end`` is called in place of decoding lm_weight 1."""

    def __init__(self, end: Callable[[], Awaitable[None]]) -> None:
        self.end = end
        self.decoded: list[Decoding] = []

    async def log_probs(self, _audio: object) -> LogProbs:
        """The same of any audio."""
        return LogProbs(np.zeros((1, 3), np.float32), 1.0)

    async def decode(self, log_probs: LogProbs, decoding: Decoding) -> Transcript:
        """Remembers the settings and answers."""
        assert log_probs.duration == 1
        self.decoded.append(decoding)
        # the corners are decoded once before the search
        if decoding.lm_weight == 1 and decoding in self.decoded[:-1]:
            await self.end()
        text = "क कख" if decoding.word_score else "क ख"
        return Transcript(text, 1.0, 1.0, (), (), 0.1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    manifest = tmp_path / "set.jsonl"
    manifest.write_text(json.dumps({"audio": "a.wav", "text": "क ख"}), encoding="utf-8")

    def run(end: Callable[[], Awaitable[None]], *arguments: str) -> Result:
        @asynccontextmanager
        async def client(_: Connection) -> AsyncIterator[FakeClient]:
            yield FakeClient(end)

        monkeypatch.setattr(Connection, "client", client)
        return CliRunner().invoke(tune_decoder, [str(manifest), *GRID, *arguments])

    return run


async def fail() -> None:
    raise ServerError("the server failed")


async def interrupt() -> None:
    """Ctrl-C while a request is on its way."""
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()


def test_log_probabilities_are_called_so_by_both_clients() -> None:
    for client in (Client, AsyncClient):
        assert list(inspect.signature(client.decode).parameters) == ["self", "log_probs", "parameters", "decoding"]
    assert list(inspect.signature(tune).parameters)[:2] == ["client", "utterances"]


def test_a_failure_leaves_the_table_of_what_was_measured(run: Callable[..., Result]) -> None:
    done = run(fail)
    assert isinstance(done.exception, ServerError)
    assert done.stdout == TABLE


def test_an_interrupt_leaves_the_table_of_what_was_measured(run: Callable[..., Result]) -> None:
    done = run(interrupt)
    assert done.exit_code == 1
    assert done.stdout == TABLE
    assert done.stderr.endswith("Aborted!\n")


def test_standard_output_has_no_table_where_json_was_asked_for(run: Callable[..., Result]) -> None:
    done = run(fail, "--json")
    assert done.stdout == ""
    assert done.stderr.endswith(TABLE)


def test_each_pair_is_a_line_on_standard_error_where_there_is_no_terminal(run: Callable[..., Result]) -> None:
    done = run(fail)
    assert done.stderr.splitlines() == [
        "greedy: word error rate 0.0 %, character error rate 0.0 %",
        "beam without language model: word error rate 0.0 %, character error rate 0.0 %",
        "lm_weight 0.5, word_score 0: word error rate 0.0 %, character error rate 0.0 %",
        "lm_weight 0.5, word_score 1: word error rate 50.0 %, character error rate 33.3 %",
    ]
