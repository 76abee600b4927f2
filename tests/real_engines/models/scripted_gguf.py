"""Writes a tiny GGUF whose weights say fixed texts. Run it with the Python in `.tools/engines/models`.

The model is a chain: the weights of its layer are zero, and each row of the output matrix is the embedding of
the token that comes before. So the next token depends on the last one alone, with a probability of about
0.97. All bytes have one embedding, which leads to the story. The chat template ends with a token that leads
to one of the scripts.
"""

import sys
from itertools import pairwise

import gguf
import numpy as np

TEMPLATE = """\
{%- if tools %}<|start|>system
# Tools

You may call one or more functions. They are described within <tools></tools>:
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>

For each function call, return a JSON object with the name and the arguments within <tool_call></tool_call>:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|end|>
{% endif %}
{%- for message in messages %}<|start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>
{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|end|>
{% endfor %}
{%- if add_generation_prompt %}<|start|>assistant
{% if tools %}<|call|>{% elif messages[-1].content == "Think." %}<|think|>
{%- elif messages[-1].content == "Finish." %}<|finish|>{% endif %}
{%- endif %}"""

_ADJECTIVES = ("red", "wet", "old", "shy")
_NOUNS = ("river", "stone", "cloud", "forest", "bridge", "candle", "ladder", "mirror", "pocket", "garden")
_START, _END = "<|start|>", "<|end|>"
_CONTROLS = (_START, _END, "<|call|>", "<|think|>", "<|finish|>")
# The halves of characters are tokens of two bytes. No token occurs twice, in all texts together.
_HALVES = (b"\xf0\x9f", b"\xa6\x9c", b"\xe2\x80", b"\x94!", b" \xe6", b"\x97\xa5")
_OPENING = ("Once", " upon", " a", " time")
_CALL = (
    "<tool_call>",
    '\n{"',
    "name",
    '": "',
    "weather",
    '", "',
    "arguments",
    '": {"',
    "city",
    '":"',
    "Köln",
    '"}}\n',
    "</tool_call>",
)
_THINK = ("<think>", "\nThe", " answer", " must", " be", " short", ".\n", "</think>", "\nShort", " it is.")
_FINISH = ("All", " is", " said.")


def _bytes_as_text() -> dict[int, str]:
    """Returns the characters that byte-level tokenizers write for bytes, as GPT-2 has them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_AS_TEXT = _bytes_as_text()


def _piece(data: str | bytes) -> str:
    return "".join(_AS_TEXT[byte] for byte in (data.encode() if isinstance(data, str) else data))


def _story() -> list[str]:
    """Returns the pieces of the story, which has characters that are cut in two."""
    words = (f" {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS)
    pieces = [_piece(text) for text in _OPENING]
    halves = list(_HALVES)
    for count, word in enumerate(words):
        pieces.append(_piece(word))
        if count % 12 == 1 and halves:
            pieces += [_piece(halves.pop(0)), _piece(halves.pop(0))]
    return pieces


def main(path: str) -> None:
    """Writes the model."""
    story = _story()
    scripts = {
        "<|call|>": [_piece(text) for text in _CALL],
        "<|think|>": [_piece(text) for text in _THINK],
        "<|finish|>": [_piece(text) for text in _FINISH],
    }
    merged = "he"
    texts = [
        *_CONTROLS,
        *_AS_TEXT.values(),
        merged,
        *story,
        *(text for said in scripts.values() for text in said),
    ]
    assert len(set(texts)) == len(texts), sorted({text for text in texts if texts.count(text) > 1})
    number = {text: index for index, text in enumerate(texts)}
    next_of = {number[a]: number[b] for a, b in pairwise([*story, story[0]])}
    for control, said in scripts.items():
        next_of |= {number[a]: number[b] for a, b in pairwise([control, *said, _END])}

    size, heads = 256, 4
    random = np.random.default_rng(7)
    embeddings = random.choice(np.array([-1, 1], np.float32), (len(texts), size))
    output = random.normal(0, 0.02, (len(texts), size)).astype(np.float32)
    common = number["!"]
    for index in range(len(texts)):
        if index not in next_of:
            embeddings[index] = embeddings[common]
    for before, after in ((common, number[story[0]]), *next_of.items()):
        output[after] += 0.04 * embeddings[before]
    zero = np.zeros((size, size), np.float32)
    ones = np.ones(size, np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("scripted")
    writer.add_context_length(16384)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(size // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(texts))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    writer.add_token_types([3 if text in _CONTROLS else 1 for text in texts])
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(number[_START])
    writer.add_eos_token_id(number[_END])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", zero)
    writer.add_tensor("blk.0.attn_norm.weight", ones)
    writer.add_tensor("blk.0.ffn_norm.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
