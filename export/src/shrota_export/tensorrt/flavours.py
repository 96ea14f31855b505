"""TensorRT and TensorRT-RTX: the same programming interface under two names."""

import importlib
import re
from dataclasses import dataclass
from typing import Any

from shrota_export.errors import PlanError


@dataclass(frozen=True)
class Flavour:
    """One of NVIDIA's two builders."""

    name: str
    """as in ``plan.json``: "tensorrt" or "tensorrt-rtx"; also the package on PyPI"""
    module: str
    title: str
    """as NVIDIA writes it"""
    majors: tuple[int, ...]
    """the versions whose interface this code was written for"""
    needs_gpu: bool
    """whether it times its kernels on the GPU while it builds"""

    def load(self) -> Any:
        """Its Python module.

        Raises:
            PlanError: it is not installed, its libraries are missing, or it is a version without strongly typed
                networks or of an interface that nobody has tried.
        """
        other = " (or build for a GeForce or RTX GPU: --for rtx)" if self.needs_gpu else ""
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError:
            raise PlanError(
                f"the package {self.name} is not installed: run `pip install {self.name}` where the plan is to be "
                f"built{other}"
            ) from None
        except (ImportError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise PlanError(f"the package {self.name} cannot be loaded ({reason}): install it anew{other}") from error
        version = str(module.__version__)
        found = re.match(r"\d+", version)
        if found is None or int(found[0]) not in self.majors:
            wanted = " or ".join(map(str, self.majors))
            raise PlanError(f"{self.title} {version} cannot build the plan: install version {wanted} of {self.name}")
        return module


TENSORRT = Flavour("tensorrt", "tensorrt", "TensorRT", (10, 11), needs_gpu=True)
RTX = Flavour("tensorrt-rtx", "tensorrt_rtx", "TensorRT-RTX", (1,), needs_gpu=False)
