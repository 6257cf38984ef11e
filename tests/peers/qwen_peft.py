"""Loads our adapter with peft, and makes one with peft that we load: nothing of spatial-ssrl is
used.

Usage: qwen_peft.py MODEL FOLDER

MODEL is a checkpoint folder. FOLDER holds the adapter `ours` and what the test dumped:
`prompt.safetensors` (`input_ids [T]`, `pixel_values [patches, 1176]`, `grid_thw [pictures, 3]`)
and pictures `picture_N.png`. Writes the adapter `theirs` (rank-stabilised, ranks by pattern,
on the vision tower and the head as well) and `answers.safetensors`: the logits `[T, words]`
of the prompt with no adapter (`base`), ours (`ours`) and theirs (`theirs`), and what the
reference's processor makes of picture N (`picture_N.pixel_values`, `picture_N.grid_thw`).
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor


def base(folder):
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@torch.no_grad()
def logits(model, prompt):
    ids = prompt["input_ids"].unsqueeze(0)
    image = model.config.image_token_id
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": prompt["pixel_values"],
        "image_grid_thw": prompt["grid_thw"],
        "mm_token_type_ids": (ids == image).long(),
    }
    return model(**given).logits[0].contiguous()


def theirs(model, folder):
    """An adapter of peft's own in which every matrix matters."""
    torch.manual_seed(7)
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        use_rslora=True,
        target_modules=r".*(language_model.*(q_proj|down_proj)|visual.*(qkv|mlp\.2))|lm_head",
        rank_pattern={r"layers\.1\.self_attn\.q_proj": 3, "qkv": 2},
        alpha_pattern={"down_proj": 9},
    )
    model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    return model.eval()


def pictures(folder):
    processor = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=200 * 200)
    found = {}
    for path in sorted(folder.glob("picture_*.png")):
        made = processor(images=[Image.open(path).convert("RGB")], return_tensors="pt")
        found[f"{path.stem}.pixel_values"] = made["pixel_values"].contiguous()
        found[f"{path.stem}.grid_thw"] = made["image_grid_thw"][0].contiguous()
    return found


def main():
    model, folder = sys.argv[1], Path(sys.argv[2])
    prompt = load_file(folder / "prompt.safetensors")
    answers = {"base": logits(base(model), prompt)}
    ours = PeftModel.from_pretrained(base(model), folder / "ours")
    answers["ours"] = logits(ours.eval(), prompt)
    answers["theirs"] = logits(theirs(base(model), folder / "theirs"), prompt)
    answers |= pictures(folder)
    save_file(answers, folder / "answers.safetensors")


if __name__ == "__main__":
    main()
