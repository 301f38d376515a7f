"""What llama.cpp was compiled for, asked in another process: one built for another processor ends its process."""

import re

from convert.children import Json, child_main, run_child

_SECONDS = 60


def features() -> tuple[str, bool]:
    """What the build uses of the processor, as llama.cpp names it, and whether it can use a graphics card.

    Raises TakebackError where it cannot be loaded on this machine.
    """
    answer = run_child("assistant.engine.build", None, "llama.cpp cannot be loaded", deadline=_SECONDS)
    return answer["features"], answer["gpu"]


def _work(request: Json, step: object) -> Json:
    import llama_cpp.llama_cpp as llama  # noqa: PLC0415 (only the child may load it)

    words = re.findall(r"(\w+) = (\w+)", llama.llama_print_system_info().decode(errors="replace"))
    on = [name if value == "1" else f"{name}={value}" for name, value in words if value != "0"]
    return {"features": " ".join(on), "gpu": bool(llama.llama_supports_gpu_offload())}


if __name__ == "__main__":
    child_main(_work)
