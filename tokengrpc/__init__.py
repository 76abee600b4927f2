"""Token streaming from language models over gRPC.

The public names are the client's: `from tokengrpc import TokenStreamClient`.
"""
