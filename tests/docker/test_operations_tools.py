"""What is called checked is checked: a missing program is said, and can be made a failure."""

import re
import subprocess
from pathlib import Path

import pytest

from shrota_testing import tools
from shrota_testing.repository import ROOT

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def nothing_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine that has none of the programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(tools.REQUIRE, raising=False)


@pytest.mark.parametrize("value", ["", "0"])
def test_without_the_program_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(tools.REQUIRE, value)
    with pytest.raises(pytest.skip.Exception, match=r"nginx is not installed: apt-get install nginx"):
        tools.program("nginx")


def test_where_it_is_required_the_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match=rf"nginx is not installed: .* \({tools.REQUIRE} is set\)"):
        tools.program("nginx")
    monkeypatch.setitem(tools.PACKAGES, "no_such_package", "pip install it")
    with pytest.raises(pytest.fail.Exception, match="no_such_package is not installed: pip install it"):
        tools.package("no_such_package")


@pytest.mark.parametrize(("value", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_what_a_mark_names_is_looked_for_before_the_test(
    monkeypatch: pytest.MonkeyPatch, value: str, outcome: type[BaseException]
) -> None:
    class Item:
        """A test that is marked."""

        def iter_markers(self, name: str) -> list[pytest.Mark]:
            """Its marks of a name."""
            assert name == "needs"
            return [tools.needs("promtool").mark]

    monkeypatch.setenv(tools.REQUIRE, value)
    with pytest.raises(outcome, match="promtool is not installed"):
        tools.check_marks(Item())  # type: ignore[arg-type]


def test_no_test_of_what_is_deployed_skips_by_itself() -> None:
    """It would be left out in silence where everything is required."""
    for path in TESTS.glob("test_*.py"):
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert "pytest.skip(" not in text, path
        assert "shutil.which" not in text, path
        for name in re.findall(r'importorskip\("(\w+)', text):
            assert name == "shrota_server", path


def test_ci_goes_on_where_nothing_can_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "clone" / ".ci" / "tools"
    program.parent.mkdir(parents=True)
    program.write_bytes((ROOT / ".ci" / "tools").read_bytes())
    monkeypatch.undo()
    for name in ("rm", "mkdir", "dirname", "timeout"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / name).symlink_to(found)
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run(["/bin/bash", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("nginx or Prometheus is missing and could not be fetched, so their tests are skipped: ")
