"""The layers that the published LCM-LoRA files change, by the settings of the published UNets.

Run where diffusers is installed: ``python tests/golden/make_lcm_lora_keys.py``. Writes ``lcm_lora_{sd15,sdxl}.json``:
the shape of the weight of each layer by its name. The networks are built without weights (device meta). Which layers:
those that the training script for LCM-LoRA of diffusers names.
"""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

HERE = Path(__file__).parent
ENDS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)
PUBLISHED = json.loads((HERE / "published_unets.json").read_text())


def main():
    for name, config in PUBLISHED.items():
        with torch.device("meta"):
            unet = UNet2DConditionModel(**config)
        shapes = {
            path: list(layer.weight.shape)
            for path, layer in unet.named_modules()
            if path.endswith(tuple(f".{end}" for end in ENDS)) and hasattr(layer, "weight")
        }
        (HERE / f"lcm_lora_{name}.json").write_text(json.dumps(shapes, indent=0) + "\n")
        print(name, len(shapes))


if __name__ == "__main__":
    main()
