"""A protoc plugin that writes `*_pb2_grpc.py` with grpcio-tools, and marks each package as typed.

grpcio-tools compiles its gRPC generator into its own protoc, while buf supports only the plugin protocol.
This script reads a CodeGeneratorRequest, runs that protoc with its descriptors, and returns the output files.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def main() -> None:
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    services = {file.name for file in request.proto_file if file.service}
    files = [name for name in request.file_to_generate if name in services]
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "descriptors.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        out = Path(folder, "out")
        out.mkdir()
        arguments = ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}"]
        if files and protoc.main([*arguments, *files]) != 0:
            response.error = "grpc_tools.protoc failed"
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=str(path.relative_to(out)), content=path.read_text())
    # Without this file, mypy ignores the .pyi files of an installed package.
    for package in sorted({name.split("/")[0] for name in request.file_to_generate}):
        response.file.add(name=f"{package}/py.typed")
    sys.stdout.buffer.write(response.SerializeToString())


main()
