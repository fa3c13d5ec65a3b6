"""A Paddle program as an ONNX file. Run in a process of its own, which the converter ends where it cannot go on.

``python -m fastdiffusers_compile.onnx_export FOLDER float32|int8`` makes ``program.onnx`` of the program in FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

OPSET = 17  # the first that has LayerNormalization
ONNX = "program.onnx"


def main(folder: Path, dtype: str) -> None:
    """Convert, and for int8 quantise the weights of every product, one scale for each output channel."""
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"  # else the converter runs pip
    import onnx
    import paddle2onnx

    raw = folder / "converted.onnx"
    paddle2onnx.export(
        str(folder / "program.json"),
        str(folder / "program.pdiparams"),
        save_file=str(raw),
        opset_version=OPSET,
        auto_upgrade_opset=False,
        enable_onnx_checker=True,
        optimize_tool="None",
        verbose=False,
    )
    model = onnx.load(raw)
    constants_to_initializers(model)
    raw.unlink()
    onnx.save(model, folder / ONNX)
    if dtype == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        whole = folder / "whole.onnx"
        (folder / ONNX).rename(whole)
        quantize_dynamic(
            whole,
            folder / ONNX,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            extra_options={"MatMulConstBOnly": True},
        )
        whole.unlink()


def constants_to_initializers(model: Any) -> None:
    """The converter leaves weights as nodes, through nodes that change nothing; quantisation looks for neither."""
    graph, kept = model.graph, []
    same: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and node.output[0] not in {value.name for value in graph.output}:
            same[node.output[0]] = same.get(node.input[0], node.input[0])
        elif node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
