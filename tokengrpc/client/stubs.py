"""Types for the generated stubs, which are untyped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from tokenstreaming.v1 import admin_service_pb2_grpc, token_stream_pb2_grpc, usage_service_pb2_grpc

if TYPE_CHECKING:
    import grpc
    from tokenstreaming.v1 import admin_service_pb2 as admin
    from tokenstreaming.v1 import token_stream_pb2 as pb
    from tokenstreaming.v1 import usage_service_pb2 as usage


class AioStub(Protocol):
    """Typed methods of `TokenStream` on an asyncio channel."""

    StreamTokens: grpc.aio.UnaryStreamMultiCallable[pb.StreamTokensRequest, pb.StreamTokensResponse]
    ResumeTokens: grpc.aio.UnaryStreamMultiCallable[pb.ResumeTokensRequest, pb.StreamTokensResponse]
    GenerateText: grpc.aio.UnaryUnaryMultiCallable[pb.GenerateTextRequest, pb.GenerateTextResponse]
    CancelGeneration: grpc.aio.UnaryUnaryMultiCallable[
        pb.CancelGenerationRequest, pb.CancelGenerationResponse
    ]
    GetGeneration: grpc.aio.UnaryUnaryMultiCallable[pb.GetGenerationRequest, pb.GetGenerationResponse]
    CountTokens: grpc.aio.UnaryUnaryMultiCallable[pb.CountTokensRequest, pb.CountTokensResponse]
    ListModels: grpc.aio.UnaryUnaryMultiCallable[pb.ListModelsRequest, pb.ListModelsResponse]


class SyncStub(Protocol):
    """Typed methods of `TokenStream` on a blocking channel."""

    StreamTokens: grpc.UnaryStreamMultiCallable[pb.StreamTokensRequest, pb.StreamTokensResponse]
    ResumeTokens: grpc.UnaryStreamMultiCallable[pb.ResumeTokensRequest, pb.StreamTokensResponse]
    GenerateText: grpc.UnaryUnaryMultiCallable[pb.GenerateTextRequest, pb.GenerateTextResponse]
    CancelGeneration: grpc.UnaryUnaryMultiCallable[pb.CancelGenerationRequest, pb.CancelGenerationResponse]
    GetGeneration: grpc.UnaryUnaryMultiCallable[pb.GetGenerationRequest, pb.GetGenerationResponse]
    CountTokens: grpc.UnaryUnaryMultiCallable[pb.CountTokensRequest, pb.CountTokensResponse]
    ListModels: grpc.UnaryUnaryMultiCallable[pb.ListModelsRequest, pb.ListModelsResponse]


class AioUsageStub(Protocol):
    """Typed methods of `UsageService` on an asyncio channel."""

    ListUsageRecords: grpc.aio.UnaryUnaryMultiCallable[
        usage.ListUsageRecordsRequest, usage.ListUsageRecordsResponse
    ]
    SummarizeUsage: grpc.aio.UnaryUnaryMultiCallable[
        usage.SummarizeUsageRequest, usage.SummarizeUsageResponse
    ]
    ListUsageEntries: grpc.aio.UnaryUnaryMultiCallable[
        usage.ListUsageEntriesRequest, usage.ListUsageEntriesResponse
    ]


class SyncUsageStub(Protocol):
    """Typed methods of `UsageService` on a blocking channel."""

    ListUsageRecords: grpc.UnaryUnaryMultiCallable[
        usage.ListUsageRecordsRequest, usage.ListUsageRecordsResponse
    ]
    SummarizeUsage: grpc.UnaryUnaryMultiCallable[usage.SummarizeUsageRequest, usage.SummarizeUsageResponse]
    ListUsageEntries: grpc.UnaryUnaryMultiCallable[
        usage.ListUsageEntriesRequest, usage.ListUsageEntriesResponse
    ]


class AioAdminStub(Protocol):
    """Typed methods of `AdminService` on an asyncio channel."""

    CreateTenant: grpc.aio.UnaryUnaryMultiCallable[admin.CreateTenantRequest, admin.CreateTenantResponse]
    GetTenant: grpc.aio.UnaryUnaryMultiCallable[admin.GetTenantRequest, admin.GetTenantResponse]
    ListTenants: grpc.aio.UnaryUnaryMultiCallable[admin.ListTenantsRequest, admin.ListTenantsResponse]
    UpdateTenant: grpc.aio.UnaryUnaryMultiCallable[admin.UpdateTenantRequest, admin.UpdateTenantResponse]
    DeleteTenant: grpc.aio.UnaryUnaryMultiCallable[admin.DeleteTenantRequest, admin.DeleteTenantResponse]
    CreateApiKey: grpc.aio.UnaryUnaryMultiCallable[admin.CreateApiKeyRequest, admin.CreateApiKeyResponse]
    ListApiKeys: grpc.aio.UnaryUnaryMultiCallable[admin.ListApiKeysRequest, admin.ListApiKeysResponse]
    RevokeApiKey: grpc.aio.UnaryUnaryMultiCallable[admin.RevokeApiKeyRequest, admin.RevokeApiKeyResponse]
    ListAuditEntries: grpc.aio.UnaryUnaryMultiCallable[
        admin.ListAuditEntriesRequest, admin.ListAuditEntriesResponse
    ]


class SyncAdminStub(Protocol):
    """Typed methods of `AdminService` on a blocking channel."""

    CreateTenant: grpc.UnaryUnaryMultiCallable[admin.CreateTenantRequest, admin.CreateTenantResponse]
    GetTenant: grpc.UnaryUnaryMultiCallable[admin.GetTenantRequest, admin.GetTenantResponse]
    ListTenants: grpc.UnaryUnaryMultiCallable[admin.ListTenantsRequest, admin.ListTenantsResponse]
    UpdateTenant: grpc.UnaryUnaryMultiCallable[admin.UpdateTenantRequest, admin.UpdateTenantResponse]
    DeleteTenant: grpc.UnaryUnaryMultiCallable[admin.DeleteTenantRequest, admin.DeleteTenantResponse]
    CreateApiKey: grpc.UnaryUnaryMultiCallable[admin.CreateApiKeyRequest, admin.CreateApiKeyResponse]
    ListApiKeys: grpc.UnaryUnaryMultiCallable[admin.ListApiKeysRequest, admin.ListApiKeysResponse]
    RevokeApiKey: grpc.UnaryUnaryMultiCallable[admin.RevokeApiKeyRequest, admin.RevokeApiKeyResponse]
    ListAuditEntries: grpc.UnaryUnaryMultiCallable[
        admin.ListAuditEntriesRequest, admin.ListAuditEntriesResponse
    ]


def aio_stub(channel: grpc.aio.Channel) -> AioStub:
    """Returns the typed stub of an asyncio channel."""
    stub = token_stream_pb2_grpc.TokenStreamStub(channel)  # type: ignore[no-untyped-call]  # generated
    return cast("AioStub", stub)


def sync_stub(channel: grpc.Channel) -> SyncStub:
    """Returns the typed stub of a blocking channel."""
    stub = token_stream_pb2_grpc.TokenStreamStub(channel)  # type: ignore[no-untyped-call]  # generated
    return cast("SyncStub", stub)


def aio_usage_stub(channel: grpc.aio.Channel) -> AioUsageStub:
    """Returns the typed stub of the UsageService on an asyncio channel."""
    stub = usage_service_pb2_grpc.UsageServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    return cast("AioUsageStub", stub)


def sync_usage_stub(channel: grpc.Channel) -> SyncUsageStub:
    """Returns the typed stub of the UsageService on a blocking channel."""
    stub = usage_service_pb2_grpc.UsageServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    return cast("SyncUsageStub", stub)


def aio_admin_stub(channel: grpc.aio.Channel) -> AioAdminStub:
    """Returns the typed stub of the AdminService on an asyncio channel."""
    stub = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    return cast("AioAdminStub", stub)


def sync_admin_stub(channel: grpc.Channel) -> SyncAdminStub:
    """Returns the typed stub of the AdminService on a blocking channel."""
    stub = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    return cast("SyncAdminStub", stub)
