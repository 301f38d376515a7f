"""A GGUF file written again with a fault in it."""

from convert.checkpoint import open_checkpoint
from convert.export import write_gguf
from convert.gguf_header import read_header
from convert.merge import OutputTensor


def rewritten(source, out, changes, *, without=()):
    """A GGUF file again, with other keys, and without some tensors; a key that is None is left out."""
    header = read_header(source)
    metadata = {key: value for key, value in (header.typed | changes).items() if value is not None}
    with open_checkpoint(source) as opened:
        tensors = [
            OutputTensor(name, tensor.shape, tensor.ggml_type, tensor)
            for name, tensor in opened.tensors.items()
            if name not in without
        ]
        write_gguf(out, metadata, tensors, lambda *_: None, lambda *_: None)
    return out
