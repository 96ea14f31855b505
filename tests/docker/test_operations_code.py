"""What serves unpickles, evaluates and shells out nothing; what exports reads pickles as weights only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shrota_testing.repository import ROOT

SERVING = [ROOT / part for part in ("model_repository", "server/src", "client/src")]
EXPORTING = [ROOT / part for part in ("export/src", "loadtest/src")]
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "__import__"}
# what numpy and others would read a pickle with
SETTINGS = {"allow_pickle", "shell", "trust_remote_code"}


def trees(folders: list[Path]) -> Iterator[tuple[Path, ast.AST]]:
    """All Python files of the folders, parsed."""
    for folder in folders:
        files = sorted(folder.rglob("*.py"))
        assert files, folder
        for path in files:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def offences(tree: ast.AST) -> Iterator[str]:
    """What in a file could run what somebody sent."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in CALLS | {"os.system", "os.popen", "torch.load", "yaml.load"}:
        weights_only = [word for word in node.keywords if word.arg == "weights_only"]
        if name != "torch.load" or not (weights_only and ast.unparse(weights_only[0].value) == "True"):
            yield name
    for keyword in node.keywords:
        wrong = "False" if keyword.arg == "weights_only" else "True"
        if keyword.arg in SETTINGS | {"weights_only"} and ast.unparse(keyword.value) == wrong:
            yield f"{name}({keyword.arg}={wrong})"


@pytest.mark.parametrize("folders", [SERVING, EXPORTING], ids=["serving", "exporting"])
def test_nothing_runs_what_somebody_sent(folders: list[Path]) -> None:
    found = [f"{path.relative_to(ROOT)}: {what}" for path, tree in trees(folders) for what in offences(tree)]
    assert found == []


def test_checkpoints_are_loaded_as_weights_only() -> None:
    loading = ast.parse((ROOT / "export/src/shrota_export/loading.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(loading) if isinstance(node, ast.Call)]
    (model,) = [call for call in calls if any(keyword.arg == "output_loading_info" for keyword in call.keywords)]
    assert {keyword.arg: ast.unparse(keyword.value) for keyword in model.keywords}["weights_only"] == "True"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", "pickle"),
        ("from dill import loads", "dill"),
        ("eval(text)", "eval"),
        ("torch.load(file)", "torch.load"),
        ("torch.load(file, weights_only=False)", "torch.load"),
        ("np.load(file, allow_pickle=True)", "np.load(allow_pickle=True)"),
        ("subprocess.run(words, shell=True)", "subprocess.run(shell=True)"),
        ("kind.from_pretrained(name, trust_remote_code=True)", "kind.from_pretrained(trust_remote_code=True)"),
    ],
)
def test_the_look_finds_what_it_is_for(code: str, found: str) -> None:
    assert found in list(offences(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["torch.load(file, weights_only=True)", "model.eval()", "np.load(file)", "re.compile(x)"]
)
def test_the_look_leaves_the_rest_alone(code: str) -> None:
    assert list(offences(ast.parse(code))) == []
