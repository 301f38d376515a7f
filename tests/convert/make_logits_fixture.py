"""Writes logits.npz: transformers' logits of small random checkpoints, for the tests that run without torch.

From the repository's root, with the extra `train`: python -m tests.convert.make_logits_fixture
"""

import tempfile
from pathlib import Path

import numpy as np

from tests.convert.small_model import LLAMA3_ROPE, write_checkpoint

FIXTURE = Path(__file__).with_name("logits.npz")
IDS = [1, 40, 7, 99, 250, 3, 17, 301, 2, 5] * 8  # long enough for Llama 3's rope scaling to show
CASES = {"tied": {"tied": True}, "untied_llama3": {"tied": False, "rope": LLAMA3_ROPE}}


def transformers_logits(folder, ids):
    """Logits [len(ids), vocabulary] in float32."""
    import torch
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def main():
    found = {}
    for case, arguments in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), **arguments)
            found[case] = transformers_logits(folder, IDS)[-4:]
    np.savez_compressed(FIXTURE, **found)


if __name__ == "__main__":
    main()
