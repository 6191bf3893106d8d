"""Writes a model of random numbers, so small that an answer costs nothing: model.py FILE"""

import sys

import gguf
import numpy

WORDS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(f"▁{letter}" for letter in "abcdefgh")]
KINDS = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256, *[gguf.TokenType.NORMAL] * 8]
WIDTH, HEADS, INNER = 64, 4, 128

model = gguf.GGUFWriter(sys.argv[1], "llama")
model.add_context_length(4096)
model.add_embedding_length(WIDTH)
model.add_block_count(1)
model.add_feed_forward_length(INNER)
model.add_head_count(HEADS)
model.add_layer_norm_rms_eps(1e-5)
model.add_tokenizer_model("llama")
model.add_token_list(WORDS)
model.add_token_scores([0.0] * len(WORDS))
model.add_token_types(KINDS)
random = numpy.random.default_rng(1)
for name, *shape in [
    ("token_embd", len(WORDS), WIDTH), ("output_norm", WIDTH), ("output", len(WORDS), WIDTH),
    ("blk.0.attn_norm", WIDTH), *((f"blk.0.attn_{name}", WIDTH, WIDTH) for name in ["q", "k", "v", "output"]),
    ("blk.0.ffn_norm", WIDTH), ("blk.0.ffn_gate", INNER, WIDTH), ("blk.0.ffn_up", INNER, WIDTH), ("blk.0.ffn_down", WIDTH, INNER),
]:
    model.add_tensor(f"{name}.weight", random.standard_normal(shape, numpy.float32) / 8)
model.write_header_to_file()
model.write_kv_data_to_file()
model.write_tensors_to_file()
model.close()
