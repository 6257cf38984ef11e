"""How fast transformers and peft answer and learn with a published shape of Qwen2.5-VL and random
weights: the counterpart of `examples/qwen_speed.rs`, with the same prompt, group, adapter and
figures. Nothing of spatial-ssrl is used.

Usage: qwen_speed.py [cuda|cpu] [3b|7b|tiny] [bf16|f32] [GB/s]

    python3 tests/peers/qwen_speed.py cuda 3b bf16 4800
    cargo run --release --features vlm,cuda --example qwen_speed -- cuda 3b bf16 4800

One picture of 640x480 (391 tokens) between 160 tokens of text, 8 answers of 256 tokens (tiny: 16).
Told are the tokens a second of the group while it is decoded, the time of a GRPO step on that group
(one update by AdamW through an adapter of rank 16 on all linear layers of the language model, with
gradient checkpointing and the reference policy's log-probabilities), and the peak memory. Answers
are sampled as TRL does it, `generate` with eight equal prompts. 4,800 GB/s are an H200's, 3,350 an
H100's (SXM), 204.8 an AGX Orin's.
"""

import os
import subprocess
import sys
import threading
import time

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

ANSWERS = 8
RANK = 16
KL_COEF = 0.01
SHAPES = {  # layers, hidden, heads, heads of keys and values, inner, vocabulary, tied, answer
    "3b": (36, 2048, 16, 2, 11008, 151936, True, 256),
    "7b": (28, 3584, 28, 4, 18944, 152064, False, 256),
    "tiny": (1, 256, 2, 1, 512, 151936, True, 16),
}
TOWER = (32, 1280, 16, 3420, [7, 15, 23, 31])  # depth, hidden, heads, inner, full attention
TINY_TOWER = (1, 160, 2, 320, [0])
IMAGE, VISION_START, VISION_END = 151655, 151652, 151653


def config(shape):
    layers, hidden, heads, kv_heads, inner, vocabulary, tied, _ = SHAPES[shape]
    depth, tower, tower_heads, tower_inner, full = TINY_TOWER if shape == "tiny" else TOWER
    vision = {
        "depth": depth,
        "hidden_size": tower,
        "num_heads": tower_heads,
        "intermediate_size": tower_inner,
        "out_hidden_size": hidden,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": full,
    }
    text = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "use_sliding_window": False,
        # No token ends an answer before its length.
        "eos_token_id": None,
    }
    return Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        tie_word_embeddings=tied,
        image_token_id=IMAGE,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )


class PeakMemory:
    """The most memory that was used meanwhile, bytes: of the GPU as nvidia-smi shows it, else of
    this process."""

    def __init__(self, device):
        self.device, self.peak, self.over = device, 0, threading.Event()
        if device == "cuda":
            self.thread = threading.Thread(target=self.watch, daemon=True)
            self.thread.start()

    def watch(self):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"]
        while not self.over.wait(0.2):
            try:
                told = subprocess.run(query, capture_output=True, text=True).stdout.strip()
            except OSError:
                return
            self.peak = max(self.peak, int(told) << 20 if told.isdigit() else 0)

    def told(self):
        if self.device != "cuda":
            lines = open("/proc/self/status").read().splitlines()
            kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
            return f"peak memory of the process {kib * 1024e-9:.2f} GB"
        self.over.set()
        own = torch.cuda.max_memory_allocated() * 1e-9
        return f"peak memory of the GPU {self.peak * 1e-9:.2f} GB ({own:.2f} GB of it in tensors)"


def now(device):
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def prompt(device, dtype):
    picture = Image.new("RGB", (640, 480))
    picture.putdata([(x % 256, y % 256, 7) for y in range(480) for x in range(640)])
    seen = Qwen2VLImageProcessor()(images=[picture], return_tensors="pt")
    tokens = int(seen["image_grid_thw"].prod()) // 4
    ids = torch.tensor([[*range(10, 90), *[IMAGE] * tokens, *range(90, 170)]])
    return {
        "input_ids": ids.to(device),
        "attention_mask": torch.ones_like(ids).to(device),
        "pixel_values": seen["pixel_values"].to(device, dtype),
        "image_grid_thw": seen["image_grid_thw"].to(device),
        "mm_token_type_ids": (ids == IMAGE).long().to(device),
    }


def times(given, n):
    """The same prompt n times."""
    return {key: torch.cat([value] * n) for key, value in given.items()}


def log_probabilities(model, given, answers):
    """Of the answers' tokens, `[answers, tokens]`, float32."""
    n, length = answers.shape
    whole = times(given, n)
    more = torch.ones_like(answers)
    whole["input_ids"] = torch.cat([whole["input_ids"], answers], 1)
    whole["attention_mask"] = torch.cat([whole["attention_mask"], more], 1)
    whole["mm_token_type_ids"] = torch.cat([whole["mm_token_type_ids"], 0 * more], 1)
    logits = model(**whole, logits_to_keep=length + 1, use_cache=False).logits[:, :-1]
    # A row of the vocabulary in float32 for one answer at a time.
    rows = [
        torch.log_softmax(of.float(), -1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        for of, tokens in zip(logits, answers)
    ]
    return torch.stack(rows)


def main():
    arguments = sys.argv[1:] + [None] * 4
    device, shape, kind = arguments[0] or "cpu", arguments[1] or "tiny", arguments[2] or "f32"
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
    length = SHAPES[shape][-1]
    memory = PeakMemory(device)
    torch.manual_seed(1)

    begun = now(device)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config(shape))
    torch.set_default_dtype(torch.float32)
    targets = r".*language_model.*(q|k|v|o|gate|up|down)_proj"
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets)
    model = get_peft_model(model, lora).eval()
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    values = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    size = torch.finfo(dtype).bits // 8
    print(f"{size * values * 1e-9:.2f} GB of weights, made in {now(device) - begun:.1f} s")

    given = prompt(device, dtype)

    @torch.no_grad()
    def decode(tokens):
        begun = now(device)
        sampled = model.generate(
            **times(given, ANSWERS),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            eos_token_id=None,
            pad_token_id=0,
        )
        return now(device) - begun, sampled[:, given["input_ids"].shape[1] :]

    decode(min(length, 16))
    first, _ = decode(1)
    whole, answers = decode(length)
    assert answers.shape == (ANSWERS, length), answers.shape
    rate = ANSWERS * (length - 1) / max(whole - first, 1e-9)
    context = given["input_ids"].shape[1]
    print(
        f"{context} prompt tokens, prefill and first token {first:.3f} s; {ANSWERS} x {length} "
        f"tokens in {whole:.2f} s, decoding {rate:.0f} tokens/s"
    )
    if arguments[3]:
        layers, hidden, heads, kv_heads, *_ = SHAPES[shape]
        text = sum(p.numel() for n, p in model.named_parameters() if "visual" not in n)
        lora_values = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
        unread = 0 if head.data_ptr() == embedding.data_ptr() else embedding.numel()
        read = size * (text - lora_values - unread)
        read += 2 * layers * kv_heads * hidden // heads * 2 * (context + ANSWERS * length // 2)
        bound = ANSWERS * float(arguments[3]) * 1e9 / read
        print(f"bound by bandwidth {bound:.0f} tokens/s: {100 * rate / bound:.0f} %")

    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5, weight_decay=1e-2)
    advantages = torch.tensor([1.0 if i % 2 == 0 else -1.0 for i in range(ANSWERS)], device=device)
    for step in range(3):
        begun = now(device)
        with torch.no_grad(), model.disable_adapter():
            reference = log_probabilities(model, given, answers)
        logp = log_probabilities(model, given, answers)
        ratio = (logp - logp.detach()).exp()
        away = reference - logp
        kl = away.exp() - away - 1
        loss = (KL_COEF * kl - ratio * advantages.unsqueeze(1)).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        took = now(device) - begun
        print(f"step {step}: {took:.2f} s, loss {loss.item():.4f}, gradient norm {norm.item():.3f}")
    print(memory.told())


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
