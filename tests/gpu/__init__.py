"""Measures this software on a GPU with one command: ``python -m tests.gpu --out FOLDER``.

docs/gpu.md explains the sections. They need only torch, transformers, tokenizers, safetensors and numpy; no network,
Ray or MLflow. Parts that use more if it is installed say so. ``--small`` runs everything at toy size on a CPU, to test
the command itself (tests/test_gpu_command.py).
"""
