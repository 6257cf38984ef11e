"""Makes `tests/data/qwen2_vl`: a tiny random Qwen2-VL and what transformers and peft compute with
it in float32. Nothing of spatial-ssrl is used.

Usage: qwen2_vl.py FOLDER

Weights are rounded to bfloat16 before anything is computed. Pixel value i of the prompt is
`(i * 37 % 101) / 50 - 1`; its pictures have 4 x 6 and 8 x 4 patches. `expected.safetensors` has
`input_ids [T]`, `vision [merged patches, hidden]`, `logits [T, words]`, and with an adapter on one
layer of each kind (folder `adapter`) `adapted [T, words]`.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

GRIDS = [[1, 4, 6], [1, 8, 4]]
IMAGE, START, END = 40, 41, 42


def config():
    vision = {
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    text = {
        "vocab_size": 48,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [2, 1, 1],
        },
    }
    return Qwen2VLConfig(
        vision_config=vision,
        text_config=text,
        tie_word_embeddings=True,
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(5)
    model = Qwen2VLForConditionalGeneration(config()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms that matter.
            if parameter.dim() == 1:
                around = 1.0 if name.endswith("weight") else 0.0
                parameter.copy_(around + 0.3 * torch.randn_like(parameter))
            elif "embed_tokens" in name:
                torch.nn.init.normal_(parameter, std=0.5)
            else:
                torch.nn.init.normal_(parameter, std=1.2 / parameter[0].numel() ** 0.5)
            parameter.copy_(parameter.bfloat16().float())
    model.bfloat16().save_pretrained(folder)
    # Anew: rotary frequencies are no weights, and have been rounded as well.
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    ids = [3, 4]
    for _, height, width in GRIDS:
        ids += [START, *[IMAGE] * (height * width // 4), END, 9]
    ids = torch.tensor([ids + [10, 11, 12]])
    patches = sum(height * width for _, height, width in GRIDS)
    pixels = torch.arange(patches * 1176)
    pixels = ((pixels * 37 % 101).double() / 50 - 1).float().reshape(patches, 1176)
    grids = torch.tensor(GRIDS)
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": pixels,
        "image_grid_thw": grids,
        "mm_token_type_ids": (ids == IMAGE).long(),
    }
    with torch.no_grad():
        seen = model.model.visual(pixels, grid_thw=grids)
        seen = getattr(seen, "pooler_output", seen)
        expected = {
            "input_ids": ids[0].contiguous(),
            "vision": seen.contiguous(),
            "logits": model(**given).logits[0].contiguous(),
        }
        lora = LoraConfig(r=2, lora_alpha=3, target_modules=r".*(v_proj|down_proj|mlp\.fc1|qkv)")
        adapted = get_peft_model(model, lora).eval()
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        expected["adapted"] = adapted(**given).logits[0].contiguous()
        adapted.save_pretrained(folder / "adapter")
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
