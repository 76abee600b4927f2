package io.tokengrpc.tokenstreaming.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
 * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
 * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
 * UNIMPLEMENTED.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class AdminServiceGrpc {

  private AdminServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "tokenstreaming.v1.AdminService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CreateTenantRequest,
      io.tokengrpc.tokenstreaming.v1.CreateTenantResponse> getCreateTenantMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateTenant",
      requestType = io.tokengrpc.tokenstreaming.v1.CreateTenantRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.CreateTenantResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CreateTenantRequest,
      io.tokengrpc.tokenstreaming.v1.CreateTenantResponse> getCreateTenantMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CreateTenantRequest, io.tokengrpc.tokenstreaming.v1.CreateTenantResponse> getCreateTenantMethod;
    if ((getCreateTenantMethod = AdminServiceGrpc.getCreateTenantMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateTenantMethod = AdminServiceGrpc.getCreateTenantMethod) == null) {
          AdminServiceGrpc.getCreateTenantMethod = getCreateTenantMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.CreateTenantRequest, io.tokengrpc.tokenstreaming.v1.CreateTenantResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateTenant"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CreateTenantRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CreateTenantResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateTenant"))
              .build();
        }
      }
    }
    return getCreateTenantMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GetTenantRequest,
      io.tokengrpc.tokenstreaming.v1.GetTenantResponse> getGetTenantMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetTenant",
      requestType = io.tokengrpc.tokenstreaming.v1.GetTenantRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.GetTenantResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GetTenantRequest,
      io.tokengrpc.tokenstreaming.v1.GetTenantResponse> getGetTenantMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GetTenantRequest, io.tokengrpc.tokenstreaming.v1.GetTenantResponse> getGetTenantMethod;
    if ((getGetTenantMethod = AdminServiceGrpc.getGetTenantMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getGetTenantMethod = AdminServiceGrpc.getGetTenantMethod) == null) {
          AdminServiceGrpc.getGetTenantMethod = getGetTenantMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.GetTenantRequest, io.tokengrpc.tokenstreaming.v1.GetTenantResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetTenant"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.GetTenantRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.GetTenantResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("GetTenant"))
              .build();
        }
      }
    }
    return getGetTenantMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListTenantsRequest,
      io.tokengrpc.tokenstreaming.v1.ListTenantsResponse> getListTenantsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListTenants",
      requestType = io.tokengrpc.tokenstreaming.v1.ListTenantsRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.ListTenantsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListTenantsRequest,
      io.tokengrpc.tokenstreaming.v1.ListTenantsResponse> getListTenantsMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListTenantsRequest, io.tokengrpc.tokenstreaming.v1.ListTenantsResponse> getListTenantsMethod;
    if ((getListTenantsMethod = AdminServiceGrpc.getListTenantsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListTenantsMethod = AdminServiceGrpc.getListTenantsMethod) == null) {
          AdminServiceGrpc.getListTenantsMethod = getListTenantsMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ListTenantsRequest, io.tokengrpc.tokenstreaming.v1.ListTenantsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListTenants"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListTenantsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListTenantsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListTenants"))
              .build();
        }
      }
    }
    return getListTenantsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest,
      io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse> getUpdateTenantMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateTenant",
      requestType = io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest,
      io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse> getUpdateTenantMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest, io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse> getUpdateTenantMethod;
    if ((getUpdateTenantMethod = AdminServiceGrpc.getUpdateTenantMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getUpdateTenantMethod = AdminServiceGrpc.getUpdateTenantMethod) == null) {
          AdminServiceGrpc.getUpdateTenantMethod = getUpdateTenantMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest, io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateTenant"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("UpdateTenant"))
              .build();
        }
      }
    }
    return getUpdateTenantMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest,
      io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse> getDeleteTenantMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteTenant",
      requestType = io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest,
      io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse> getDeleteTenantMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest, io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse> getDeleteTenantMethod;
    if ((getDeleteTenantMethod = AdminServiceGrpc.getDeleteTenantMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getDeleteTenantMethod = AdminServiceGrpc.getDeleteTenantMethod) == null) {
          AdminServiceGrpc.getDeleteTenantMethod = getDeleteTenantMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest, io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteTenant"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("DeleteTenant"))
              .build();
        }
      }
    }
    return getDeleteTenantMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest,
      io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse> getCreateApiKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateApiKey",
      requestType = io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest,
      io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse> getCreateApiKeyMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest, io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse> getCreateApiKeyMethod;
    if ((getCreateApiKeyMethod = AdminServiceGrpc.getCreateApiKeyMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateApiKeyMethod = AdminServiceGrpc.getCreateApiKeyMethod) == null) {
          AdminServiceGrpc.getCreateApiKeyMethod = getCreateApiKeyMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest, io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateApiKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateApiKey"))
              .build();
        }
      }
    }
    return getCreateApiKeyMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest,
      io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse> getListApiKeysMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListApiKeys",
      requestType = io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest,
      io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse> getListApiKeysMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest, io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse> getListApiKeysMethod;
    if ((getListApiKeysMethod = AdminServiceGrpc.getListApiKeysMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListApiKeysMethod = AdminServiceGrpc.getListApiKeysMethod) == null) {
          AdminServiceGrpc.getListApiKeysMethod = getListApiKeysMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest, io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListApiKeys"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListApiKeys"))
              .build();
        }
      }
    }
    return getListApiKeysMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest,
      io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse> getRevokeApiKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RevokeApiKey",
      requestType = io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest,
      io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse> getRevokeApiKeyMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest, io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse> getRevokeApiKeyMethod;
    if ((getRevokeApiKeyMethod = AdminServiceGrpc.getRevokeApiKeyMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getRevokeApiKeyMethod = AdminServiceGrpc.getRevokeApiKeyMethod) == null) {
          AdminServiceGrpc.getRevokeApiKeyMethod = getRevokeApiKeyMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest, io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RevokeApiKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("RevokeApiKey"))
              .build();
        }
      }
    }
    return getRevokeApiKeyMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest,
      io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse> getListAuditEntriesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListAuditEntries",
      requestType = io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest,
      io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse> getListAuditEntriesMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest, io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse> getListAuditEntriesMethod;
    if ((getListAuditEntriesMethod = AdminServiceGrpc.getListAuditEntriesMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListAuditEntriesMethod = AdminServiceGrpc.getListAuditEntriesMethod) == null) {
          AdminServiceGrpc.getListAuditEntriesMethod = getListAuditEntriesMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest, io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListAuditEntries"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListAuditEntries"))
              .build();
        }
      }
    }
    return getListAuditEntriesMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static AdminServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceStub>() {
        @java.lang.Override
        public AdminServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceStub(channel, callOptions);
        }
      };
    return AdminServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static AdminServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingV2Stub>() {
        @java.lang.Override
        public AdminServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return AdminServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static AdminServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingStub>() {
        @java.lang.Override
        public AdminServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceBlockingStub(channel, callOptions);
        }
      };
    return AdminServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static AdminServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceFutureStub>() {
        @java.lang.Override
        public AdminServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceFutureStub(channel, callOptions);
        }
      };
    return AdminServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
   * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
   * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Creates a tenant. ALREADY_EXISTS (`TENANT_EXISTS`) if there is one of this name.
     * </pre>
     */
    default void createTenant(io.tokengrpc.tokenstreaming.v1.CreateTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CreateTenantResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateTenantMethod(), responseObserver);
    }

    /**
     * <pre>
     * Returns a tenant, with what is left of its budgets. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    default void getTenant(io.tokengrpc.tokenstreaming.v1.GetTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GetTenantResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetTenantMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists tenants, ordered by name.
     * </pre>
     */
    default void listTenants(io.tokengrpc.tokenstreaming.v1.ListTenantsRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListTenantsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListTenantsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes the fields of a tenant that the mask names. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    default void updateTenant(io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateTenantMethod(), responseObserver);
    }

    /**
     * <pre>
     * Deletes a tenant and revokes its keys. Its generations that are running go on; its usage is kept.
     * NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    default void deleteTenant(io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteTenantMethod(), responseObserver);
    }

    /**
     * <pre>
     * Creates a key of a tenant. Only this response has the key itself: the server keeps a hash of it.
     * </pre>
     */
    default void createApiKey(io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateApiKeyMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists keys, newest first, without the keys themselves.
     * </pre>
     */
    default void listApiKeys(io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListApiKeysMethod(), responseObserver);
    }

    /**
     * <pre>
     * Revokes a key. Idempotent. NOT_FOUND (`API_KEY_NOT_FOUND`) if there is none.
     * </pre>
     */
    default void revokeApiKey(io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRevokeApiKeyMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists changes of tenants and keys, newest first.
     * </pre>
     */
    default void listAuditEntries(io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListAuditEntriesMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service AdminService.
   * <pre>
   * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
   * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
   * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static abstract class AdminServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return AdminServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service AdminService.
   * <pre>
   * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
   * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
   * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class AdminServiceStub
      extends io.grpc.stub.AbstractAsyncStub<AdminServiceStub> {
    private AdminServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Creates a tenant. ALREADY_EXISTS (`TENANT_EXISTS`) if there is one of this name.
     * </pre>
     */
    public void createTenant(io.tokengrpc.tokenstreaming.v1.CreateTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CreateTenantResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateTenantMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Returns a tenant, with what is left of its budgets. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public void getTenant(io.tokengrpc.tokenstreaming.v1.GetTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GetTenantResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetTenantMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists tenants, ordered by name.
     * </pre>
     */
    public void listTenants(io.tokengrpc.tokenstreaming.v1.ListTenantsRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListTenantsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListTenantsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes the fields of a tenant that the mask names. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public void updateTenant(io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateTenantMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Deletes a tenant and revokes its keys. Its generations that are running go on; its usage is kept.
     * NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public void deleteTenant(io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteTenantMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Creates a key of a tenant. Only this response has the key itself: the server keeps a hash of it.
     * </pre>
     */
    public void createApiKey(io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateApiKeyMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists keys, newest first, without the keys themselves.
     * </pre>
     */
    public void listApiKeys(io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListApiKeysMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Revokes a key. Idempotent. NOT_FOUND (`API_KEY_NOT_FOUND`) if there is none.
     * </pre>
     */
    public void revokeApiKey(io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRevokeApiKeyMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists changes of tenants and keys, newest first.
     * </pre>
     */
    public void listAuditEntries(io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListAuditEntriesMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service AdminService.
   * <pre>
   * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
   * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
   * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class AdminServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<AdminServiceBlockingV2Stub> {
    private AdminServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Creates a tenant. ALREADY_EXISTS (`TENANT_EXISTS`) if there is one of this name.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CreateTenantResponse createTenant(io.tokengrpc.tokenstreaming.v1.CreateTenantRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Returns a tenant, with what is left of its budgets. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.GetTenantResponse getTenant(io.tokengrpc.tokenstreaming.v1.GetTenantRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists tenants, ordered by name.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListTenantsResponse listTenants(io.tokengrpc.tokenstreaming.v1.ListTenantsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListTenantsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes the fields of a tenant that the mask names. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse updateTenant(io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Deletes a tenant and revokes its keys. Its generations that are running go on; its usage is kept.
     * NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse deleteTenant(io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Creates a key of a tenant. Only this response has the key itself: the server keeps a hash of it.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse createApiKey(io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateApiKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists keys, newest first, without the keys themselves.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse listApiKeys(io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListApiKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Revokes a key. Idempotent. NOT_FOUND (`API_KEY_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse revokeApiKey(io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRevokeApiKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists changes of tenants and keys, newest first.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse listAuditEntries(io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListAuditEntriesMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service AdminService.
   * <pre>
   * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
   * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
   * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class AdminServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<AdminServiceBlockingStub> {
    private AdminServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Creates a tenant. ALREADY_EXISTS (`TENANT_EXISTS`) if there is one of this name.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CreateTenantResponse createTenant(io.tokengrpc.tokenstreaming.v1.CreateTenantRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Returns a tenant, with what is left of its budgets. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.GetTenantResponse getTenant(io.tokengrpc.tokenstreaming.v1.GetTenantRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists tenants, ordered by name.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListTenantsResponse listTenants(io.tokengrpc.tokenstreaming.v1.ListTenantsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListTenantsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes the fields of a tenant that the mask names. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse updateTenant(io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Deletes a tenant and revokes its keys. Its generations that are running go on; its usage is kept.
     * NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse deleteTenant(io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteTenantMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Creates a key of a tenant. Only this response has the key itself: the server keeps a hash of it.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse createApiKey(io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateApiKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists keys, newest first, without the keys themselves.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse listApiKeys(io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListApiKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Revokes a key. Idempotent. NOT_FOUND (`API_KEY_NOT_FOUND`) if there is none.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse revokeApiKey(io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRevokeApiKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists changes of tenants and keys, newest first.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse listAuditEntries(io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListAuditEntriesMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service AdminService.
   * <pre>
   * Changes tenants, limits and keys at run time. Every change is in force within a second on all servers that share the
   * database, and is kept in the audit. Callers must be admins (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). Tenants
   * of a server's own settings are not among these. If the server has no database for tenants, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class AdminServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<AdminServiceFutureStub> {
    private AdminServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Creates a tenant. ALREADY_EXISTS (`TENANT_EXISTS`) if there is one of this name.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.CreateTenantResponse> createTenant(
        io.tokengrpc.tokenstreaming.v1.CreateTenantRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateTenantMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Returns a tenant, with what is left of its budgets. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.GetTenantResponse> getTenant(
        io.tokengrpc.tokenstreaming.v1.GetTenantRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetTenantMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists tenants, ordered by name.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.ListTenantsResponse> listTenants(
        io.tokengrpc.tokenstreaming.v1.ListTenantsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListTenantsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes the fields of a tenant that the mask names. NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse> updateTenant(
        io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateTenantMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Deletes a tenant and revokes its keys. Its generations that are running go on; its usage is kept.
     * NOT_FOUND (`TENANT_NOT_FOUND`) if there is none.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse> deleteTenant(
        io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteTenantMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Creates a key of a tenant. Only this response has the key itself: the server keeps a hash of it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse> createApiKey(
        io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateApiKeyMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists keys, newest first, without the keys themselves.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse> listApiKeys(
        io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListApiKeysMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Revokes a key. Idempotent. NOT_FOUND (`API_KEY_NOT_FOUND`) if there is none.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse> revokeApiKey(
        io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRevokeApiKeyMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists changes of tenants and keys, newest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse> listAuditEntries(
        io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListAuditEntriesMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_CREATE_TENANT = 0;
  private static final int METHODID_GET_TENANT = 1;
  private static final int METHODID_LIST_TENANTS = 2;
  private static final int METHODID_UPDATE_TENANT = 3;
  private static final int METHODID_DELETE_TENANT = 4;
  private static final int METHODID_CREATE_API_KEY = 5;
  private static final int METHODID_LIST_API_KEYS = 6;
  private static final int METHODID_REVOKE_API_KEY = 7;
  private static final int METHODID_LIST_AUDIT_ENTRIES = 8;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_CREATE_TENANT:
          serviceImpl.createTenant((io.tokengrpc.tokenstreaming.v1.CreateTenantRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CreateTenantResponse>) responseObserver);
          break;
        case METHODID_GET_TENANT:
          serviceImpl.getTenant((io.tokengrpc.tokenstreaming.v1.GetTenantRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GetTenantResponse>) responseObserver);
          break;
        case METHODID_LIST_TENANTS:
          serviceImpl.listTenants((io.tokengrpc.tokenstreaming.v1.ListTenantsRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListTenantsResponse>) responseObserver);
          break;
        case METHODID_UPDATE_TENANT:
          serviceImpl.updateTenant((io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse>) responseObserver);
          break;
        case METHODID_DELETE_TENANT:
          serviceImpl.deleteTenant((io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse>) responseObserver);
          break;
        case METHODID_CREATE_API_KEY:
          serviceImpl.createApiKey((io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse>) responseObserver);
          break;
        case METHODID_LIST_API_KEYS:
          serviceImpl.listApiKeys((io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse>) responseObserver);
          break;
        case METHODID_REVOKE_API_KEY:
          serviceImpl.revokeApiKey((io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse>) responseObserver);
          break;
        case METHODID_LIST_AUDIT_ENTRIES:
          serviceImpl.listAuditEntries((io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getCreateTenantMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.CreateTenantRequest,
              io.tokengrpc.tokenstreaming.v1.CreateTenantResponse>(
                service, METHODID_CREATE_TENANT)))
        .addMethod(
          getGetTenantMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.GetTenantRequest,
              io.tokengrpc.tokenstreaming.v1.GetTenantResponse>(
                service, METHODID_GET_TENANT)))
        .addMethod(
          getListTenantsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ListTenantsRequest,
              io.tokengrpc.tokenstreaming.v1.ListTenantsResponse>(
                service, METHODID_LIST_TENANTS)))
        .addMethod(
          getUpdateTenantMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.UpdateTenantRequest,
              io.tokengrpc.tokenstreaming.v1.UpdateTenantResponse>(
                service, METHODID_UPDATE_TENANT)))
        .addMethod(
          getDeleteTenantMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.DeleteTenantRequest,
              io.tokengrpc.tokenstreaming.v1.DeleteTenantResponse>(
                service, METHODID_DELETE_TENANT)))
        .addMethod(
          getCreateApiKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.CreateApiKeyRequest,
              io.tokengrpc.tokenstreaming.v1.CreateApiKeyResponse>(
                service, METHODID_CREATE_API_KEY)))
        .addMethod(
          getListApiKeysMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ListApiKeysRequest,
              io.tokengrpc.tokenstreaming.v1.ListApiKeysResponse>(
                service, METHODID_LIST_API_KEYS)))
        .addMethod(
          getRevokeApiKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.RevokeApiKeyRequest,
              io.tokengrpc.tokenstreaming.v1.RevokeApiKeyResponse>(
                service, METHODID_REVOKE_API_KEY)))
        .addMethod(
          getListAuditEntriesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ListAuditEntriesRequest,
              io.tokengrpc.tokenstreaming.v1.ListAuditEntriesResponse>(
                service, METHODID_LIST_AUDIT_ENTRIES)))
        .build();
  }

  private static abstract class AdminServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    AdminServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.tokengrpc.tokenstreaming.v1.AdminServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("AdminService");
    }
  }

  private static final class AdminServiceFileDescriptorSupplier
      extends AdminServiceBaseDescriptorSupplier {
    AdminServiceFileDescriptorSupplier() {}
  }

  private static final class AdminServiceMethodDescriptorSupplier
      extends AdminServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    AdminServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (AdminServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new AdminServiceFileDescriptorSupplier())
              .addMethod(getCreateTenantMethod())
              .addMethod(getGetTenantMethod())
              .addMethod(getListTenantsMethod())
              .addMethod(getUpdateTenantMethod())
              .addMethod(getDeleteTenantMethod())
              .addMethod(getCreateApiKeyMethod())
              .addMethod(getListApiKeysMethod())
              .addMethod(getRevokeApiKeyMethod())
              .addMethod(getListAuditEntriesMethod())
              .build();
        }
      }
    }
    return result;
  }
}
