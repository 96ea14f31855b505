"""Where the exports put what, from the repository's folder on."""

from pathlib import Path

MODEL = Path("acoustic_onnx/1/model.onnx")
MANIFEST = MODEL.with_name("manifest.json")
FRONTEND = Path("acoustic/1/frontend.json")
VOCABULARY = Path("ctc_decoder/1/vocab.json")
