"""Tests of tokengrpc.engines.vllm."""
