"""Writes a Hugging Face model of two layers with random weights: each token depends on the whole input.

So a wrong token in the input changes the output. The tokenizer begins every prompt with a token, and the chat
template writes it itself, as in models of Llama and Gemma. The vocabulary is padded, so that the weights also
choose ids that no token has. Run it with the Python in `.tools/engines/vllm`.
"""

import sys

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

_BEGIN, _START, _END = "<|begin|>", "<|start|>", "<|end|>"
_READ = [
    "Once upon a time there was a token that streamed from one machine to another, and nobody saw it pass.",
    "hello world, hello again: the quick brown fox said that it would rather wait for the lazy dog.",
    "Beautiful is better than ugly, explicit is better than implicit, and flat is better than nested.",
    "日本語のトークン 🦜 — and other characters of several bytes: Köln, naïve, Ελλάδα, Москва.",
]
TEMPLATE = """\
{{- bos_token }}
{%- if messages[0].role != 'system' %}
    {{- '<|start|>system\\nYou are a parrot.<|end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content | trim }}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>' + call.function.name + ' ' }}
        {{- call.function.arguments | tojson }}
        {{- '</tool_call>' }}
    {%- endfor %}
    {{- '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant\\n' }}
{%- endif %}
"""
_CONTEXT = 2048


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    # As in Qwen2's own files. transformers uses these for the model type whatever the file says.
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[_BEGIN, _START, _END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_READ * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A",
        pair=f"{_BEGIN} $A {_BEGIN} $B",
        special_tokens=[(_BEGIN, tokenizer.token_to_id(_BEGIN))],
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_BEGIN, eos_token=_END)
    fast.chat_template = TEMPLATE
    return fast


def main(folder: str) -> None:
    """Writes the model's folder."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=(len(tokenizer) + 64) // 64 * 64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=_CONTEXT,
        bos_token_id=0,
        eos_token_id=2,
        tie_word_embeddings=False,
        # Ten times the usual: the best two tokens differ by more than sums in another order do.
        initializer_range=0.2,
    )
    torch.manual_seed(7)
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for token in range(len(tokenizer)):
            text = tokenizer.decode([token])
            if "\N{REPLACEMENT CHARACTER}" in text or not text:
                # Parts of characters are rarer than characters, but they occur.
                model.lm_head.weight[token] *= 0.7
    model.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
