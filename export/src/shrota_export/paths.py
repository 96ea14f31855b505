"""Where the exports put what, from the repository's folder on."""

from pathlib import Path

MODEL = Path("acoustic_onnx/1/model.onnx")
FLOAT32_MODEL = MODEL.with_name("float32.onnx")
"""The float32 graph, kept where ``MODEL`` is another precision made from it."""
MANIFEST = MODEL.with_name("manifest.json")
FRONTEND = Path("acoustic/1/frontend.json")
VOCABULARY = Path("ctc_decoder/1/vocab.json")
LM_WORDS = Path("ctc_decoder/1/lm.words")
LM_ARPA = LM_WORDS.with_name("lm.arpa")
LM_BINARY = LM_WORDS.with_name("lm.binary")
LANGUAGE_MODELS = (LM_ARPA, LM_BINARY, *(LM_WORDS.with_name(name) for name in ("lm.arpa.gz", "lm.bin", "lm.klm")))
"""All that the decoder takes for a language model."""

TORCH_ENGINE = Path("acoustic_torch/1/engine.json")
TORCH_WEIGHTS = TORCH_ENGINE.with_name("engine.safetensors")
TORCH_DESCRIPTION = TORCH_ENGINE.with_name("manifest.json")

OPENVINO_MODEL = Path("acoustic_openvino/1/model.xml")
OPENVINO_WEIGHTS = OPENVINO_MODEL.with_name("model.bin")
OPENVINO_DESCRIPTION = OPENVINO_MODEL.with_name("manifest.json")

PLAN = Path("acoustic_trt/1/model.plan")
PLAN_DESCRIPTION = PLAN.with_name("plan.json")
PLAN_CONFIGURATION = Path("acoustic_trt/config.pbtxt")
