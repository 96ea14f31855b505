#!/bin/bash
# Makes FOLDER an environment for `python -m benchmarks.gpu` on a machine without network, from WHEELS (see
# gpu-requirements.txt) beside the Python that has PyTorch, whose packages it sees but goes before: Triton's Python
# models run in the environment of the `python3` that started the server, and no PYTHONPATH reaches them.
#
# Usage: benchmarks/gpu_environment.sh WHEELS FOLDER [PYTHON]
set -euo pipefail
wheels=${1:?usage: gpu_environment.sh WHEELS FOLDER [PYTHON]} folder=${2:?usage: gpu_environment.sh WHEELS FOLDER [PYTHON]}
python=${3:-python3}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
compgen -G "$wheels/*.whl" >/dev/null || { echo "no wheels in $wheels: see gpu-requirements.txt" >&2; exit 1; }
"$python" -c 'import torch' 2>/dev/null || { echo "$python has no PyTorch: name one that has" >&2; exit 1; }
torch=$("$python" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("torch").origin).parents[1])')

"$python" -m venv --clear --without-pip "$folder"
site=$("$folder/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
printf '%s\n' "$root/client/src" "$root/export/src" "$root/server/src" "$root/loadtest/src" "$torch" >"$site/shrota.pth"
# ONNX Runtime looks for CUDA's libraries beside itself
if [ -d "$torch/nvidia" ] && [ ! -e "$site/nvidia" ]; then ln -s "$torch/nvidia" "$site/nvidia"; fi
echo "$folder/bin/python3"
