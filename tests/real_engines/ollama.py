"""Ollama with the scripted model, which it gets with a template of its own language."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.real_engines.kind import INSTALLED, Engine, Kind, installed_version
from tests.real_engines.llamacpp import scripted_model
from tests.real_engines.processes import Process

_OLLAMA: Final = INSTALLED / "ollama" / "ollama"
# Without vector instructions, which its build by Go has not, a longer input takes minutes.
_CONTEXT: Final = 2048

# The template of `scripted_gguf`, which Ollama does not read, in Go's language of templates.
_MODELFILE: Final = '''\
FROM {model}
TEMPLATE """{{{{- if .Tools }}}}<|start|>system
You may call one or more functions. They are described within <tools></tools>:
<tools>{{{{ range .Tools }}}}
{{{{ . }}}}{{{{ end }}}}
</tools><|end|>
{{{{ end }}}}
{{{{- $last := "" }}}}
{{{{- range .Messages }}}}{{{{ $last = .Content }}}}<|start|>{{{{ .Role }}}}
{{{{ if .Thinking }}}}<think>
{{{{ .Thinking }}}}
</think>
{{{{ end }}}}{{{{ .Content }}}}
{{{{- if .ToolCalls }}}}{{{{ range .ToolCalls }}}}
<tool_call>
{{{{ "{{" }}}}"name": "{{{{ .Function.Name }}}}", "arguments": {{{{ .Function.Arguments }}}}{{{{ "}}" }}}}
</tool_call>
{{{{- end }}}}{{{{ end }}}}<|end|>
{{{{ end }}}}<|start|>assistant
{{{{ if .Tools }}}}<|call|>{{{{ else if eq $last "Think." }}}}<|think|>
{{{{- else if eq $last "Finish." }}}}<|finish|>{{{{ end }}}}"""
PARAMETER num_thread 1
PARAMETER repeat_penalty 1.0
'''


def _ollama(folder: Path) -> Engine:
    settings = folder / "Modelfile"
    settings.write_text(_MODELFILE.format(model=scripted_model(folder)), encoding="utf-8")

    def command(port: int) -> list[str]:
        return ["env", f"OLLAMA_HOST=127.0.0.1:{port}", str(_OLLAMA), "serve"]

    environment = {
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_CONTEXT_LENGTH": str(_CONTEXT),
        "OLLAMA_NUM_PARALLEL": "4",
    }
    process = Process(command, folder, ready_path="/api/version", environment=environment)
    process.start()
    host = {"OLLAMA_HOST": f"127.0.0.1:{process.port}", "HOME": str(folder)}
    subprocess.run(
        [_OLLAMA, "create", "scripted", "--file", settings],
        check=True,
        timeout=120,
        capture_output=True,
        env=os.environ | host,
    )
    return Engine(process, busy=lambda: _working(process))


def _working(process: Process) -> int:
    """Returns 1 if its processes compute. Ollama tells of no requests that run."""
    before = _ticks(process.group)
    time.sleep(0.3)
    # A hundredth of a second each. What a server does that waits is less.
    return int(_ticks(process.group) - before > 3)


def _ticks(group: int) -> int:
    total = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == group:
            total += int(fields[11]) + int(fields[12])
    return total


OLLAMA: Final = Kind(
    name="Ollama",
    installed_as="ollama",
    program=_OLLAMA,
    settings={"kind": "openai", "dialect": "ollama", "api": "auto", "upstream_model": "scripted"},
    launch=_ollama,
    version=lambda: installed_version("ollama"),
    model="scripted",
    context=_CONTEXT,
    logprobs_api="chat",
    counts_each_chunk=False,
    scripted=True,
    lacks={
        "a_prompt_beyond_the_context_is_refused": (
            "Ollama cuts it and answers; that the usage record has `input_is_cut` is a case of its own"
        )
    },
)
