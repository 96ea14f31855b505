"""Steps in processes of their own: whatever they hold of a large graph is given back when they end."""

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, ParamSpec, TypeVar

from shrota_export.errors import ReportError
from shrota_export.report.reasons import reason_of

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def apart(function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
    """Calls a function of a module in a new process, and waits for what it returns.

    Passes over graphs copy weights, and what they free does not all return to the system while the process lives.

    Raises:
        ReportError: the function raised, or the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            result: Result = pool.submit(_call, function, arguments, named).result()
        except BrokenProcessPool as error:
            raise ReportError("the process that does it was killed, perhaps for want of memory") from error
    return result


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return function(*arguments, **named)
    except Exception as error:  # noqa: BLE001 - whatever it raises
        raise ReportError(reason_of(error)) from None  # other errors may not survive the way between processes


def release() -> None:
    """Gives back to the system what is not used any more: reference cycles, and what the allocator keeps."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
