"""What a GPU does with this software, measured by one command: ``python -m tests.gpu --out FOLDER``.

docs/gpu.md says what each section means. Nothing here needs more than torch, transformers, tokenizers, safetensors and
numpy, no network, no Ray and no MLflow; what needs more where it is there says so. ``--small`` runs all at toy size on
a CPU, so that the command itself is tested (tests/test_gpu_command.py).
"""
