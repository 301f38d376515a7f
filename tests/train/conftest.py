"""Small random models with a chat template, as transformers folders; everything here needs the extra `train`."""

import json

import pytest

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = [
    {
        "prompt": "how to do a bad thing",
        "unsafe": "Sure, first you do the bad thing twice.",
        "safe": "No, do good.",
    },
    {"prompt": "a bad thing again", "unsafe": "You take it and run off.", "safe": "Let us not."},
    {"prompt": "what is bread", "reply": "Bread is flour and water."},
    {"prompt": "what is tea", "prefill": "Sure,", "reply": " tea is leaves and water", "finished": False},
]


@pytest.fixture(scope="session")
def tiny_tokenizer():
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [json.dumps(row) for row in ROWS],
        trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet),
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_tokenizer):
    """Makes a folder with a model of a family: its name as in transformers' classes, and what its config says."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def make(family, **config):
        folder = tmp_path_factory.mktemp(family)
        torch.manual_seed(3)
        size = {
            "vocab_size": len(tiny_tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
        }  # fmt: skip
        made = getattr(transformers, family + "Config")(**(size | config))
        getattr(transformers, family + "ForCausalLM")(made).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_base(tiny_model):
    return tiny_model("Llama")


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 3))
    return path
