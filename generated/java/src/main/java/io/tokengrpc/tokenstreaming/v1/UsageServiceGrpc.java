package io.tokengrpc.tokenstreaming.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
 * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
 * UNIMPLEMENTED.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class UsageServiceGrpc {

  private UsageServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "tokenstreaming.v1.UsageService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest,
      io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse> getListUsageRecordsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListUsageRecords",
      requestType = io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest,
      io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse> getListUsageRecordsMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest, io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse> getListUsageRecordsMethod;
    if ((getListUsageRecordsMethod = UsageServiceGrpc.getListUsageRecordsMethod) == null) {
      synchronized (UsageServiceGrpc.class) {
        if ((getListUsageRecordsMethod = UsageServiceGrpc.getListUsageRecordsMethod) == null) {
          UsageServiceGrpc.getListUsageRecordsMethod = getListUsageRecordsMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest, io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListUsageRecords"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new UsageServiceMethodDescriptorSupplier("ListUsageRecords"))
              .build();
        }
      }
    }
    return getListUsageRecordsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest,
      io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse> getSummarizeUsageMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SummarizeUsage",
      requestType = io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest,
      io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse> getSummarizeUsageMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest, io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse> getSummarizeUsageMethod;
    if ((getSummarizeUsageMethod = UsageServiceGrpc.getSummarizeUsageMethod) == null) {
      synchronized (UsageServiceGrpc.class) {
        if ((getSummarizeUsageMethod = UsageServiceGrpc.getSummarizeUsageMethod) == null) {
          UsageServiceGrpc.getSummarizeUsageMethod = getSummarizeUsageMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest, io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SummarizeUsage"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse.getDefaultInstance()))
              .setSchemaDescriptor(new UsageServiceMethodDescriptorSupplier("SummarizeUsage"))
              .build();
        }
      }
    }
    return getSummarizeUsageMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest,
      io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse> getListUsageEntriesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListUsageEntries",
      requestType = io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest,
      io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse> getListUsageEntriesMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest, io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse> getListUsageEntriesMethod;
    if ((getListUsageEntriesMethod = UsageServiceGrpc.getListUsageEntriesMethod) == null) {
      synchronized (UsageServiceGrpc.class) {
        if ((getListUsageEntriesMethod = UsageServiceGrpc.getListUsageEntriesMethod) == null) {
          UsageServiceGrpc.getListUsageEntriesMethod = getListUsageEntriesMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest, io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListUsageEntries"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new UsageServiceMethodDescriptorSupplier("ListUsageEntries"))
              .build();
        }
      }
    }
    return getListUsageEntriesMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static UsageServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<UsageServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<UsageServiceStub>() {
        @java.lang.Override
        public UsageServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new UsageServiceStub(channel, callOptions);
        }
      };
    return UsageServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static UsageServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<UsageServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<UsageServiceBlockingV2Stub>() {
        @java.lang.Override
        public UsageServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new UsageServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return UsageServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static UsageServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<UsageServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<UsageServiceBlockingStub>() {
        @java.lang.Override
        public UsageServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new UsageServiceBlockingStub(channel, callOptions);
        }
      };
    return UsageServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static UsageServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<UsageServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<UsageServiceFutureStub>() {
        @java.lang.Override
        public UsageServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new UsageServiceFutureStub(channel, callOptions);
        }
      };
    return UsageServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
   * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Lists usage records, newest first.
     * </pre>
     */
    default void listUsageRecords(io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListUsageRecordsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Sums usage records, grouped by the requested dimensions.
     * </pre>
     */
    default void summarizeUsage(io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSummarizeUsageMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists the entries of the ledger in their order, for exports: each change of a record is an entry, which never
     * changes. Ask again after the last sequence to get those that have been added since. A caller that is no admin
     * gets the entries of its own tenant, whose sequences have gaps.
     * </pre>
     */
    default void listUsageEntries(io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListUsageEntriesMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service UsageService.
   * <pre>
   * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
   * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static abstract class UsageServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return UsageServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service UsageService.
   * <pre>
   * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
   * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class UsageServiceStub
      extends io.grpc.stub.AbstractAsyncStub<UsageServiceStub> {
    private UsageServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected UsageServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new UsageServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists usage records, newest first.
     * </pre>
     */
    public void listUsageRecords(io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListUsageRecordsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Sums usage records, grouped by the requested dimensions.
     * </pre>
     */
    public void summarizeUsage(io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSummarizeUsageMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists the entries of the ledger in their order, for exports: each change of a record is an entry, which never
     * changes. Ask again after the last sequence to get those that have been added since. A caller that is no admin
     * gets the entries of its own tenant, whose sequences have gaps.
     * </pre>
     */
    public void listUsageEntries(io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListUsageEntriesMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service UsageService.
   * <pre>
   * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
   * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class UsageServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<UsageServiceBlockingV2Stub> {
    private UsageServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected UsageServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new UsageServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists usage records, newest first.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse listUsageRecords(io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListUsageRecordsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sums usage records, grouped by the requested dimensions.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse summarizeUsage(io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSummarizeUsageMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the entries of the ledger in their order, for exports: each change of a record is an entry, which never
     * changes. Ask again after the last sequence to get those that have been added since. A caller that is no admin
     * gets the entries of its own tenant, whose sequences have gaps.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse listUsageEntries(io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListUsageEntriesMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service UsageService.
   * <pre>
   * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
   * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class UsageServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<UsageServiceBlockingStub> {
    private UsageServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected UsageServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new UsageServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists usage records, newest first.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse listUsageRecords(io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListUsageRecordsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sums usage records, grouped by the requested dimensions.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse summarizeUsage(io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSummarizeUsageMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the entries of the ledger in their order, for exports: each change of a record is an entry, which never
     * changes. Ask again after the last sequence to get those that have been added since. A caller that is no admin
     * gets the entries of its own tenant, whose sequences have gaps.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse listUsageEntries(io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListUsageEntriesMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service UsageService.
   * <pre>
   * Reads the usage ledger. Callers may read the records of their own tenant. Reading others requires an admin
   * (otherwise PERMISSION_DENIED, `ADMIN_REQUIRED`). If the server's ledger cannot be read, the calls end with
   * UNIMPLEMENTED.
   * </pre>
   */
  public static final class UsageServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<UsageServiceFutureStub> {
    private UsageServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected UsageServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new UsageServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists usage records, newest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse> listUsageRecords(
        io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListUsageRecordsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Sums usage records, grouped by the requested dimensions.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse> summarizeUsage(
        io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSummarizeUsageMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists the entries of the ledger in their order, for exports: each change of a record is an entry, which never
     * changes. Ask again after the last sequence to get those that have been added since. A caller that is no admin
     * gets the entries of its own tenant, whose sequences have gaps.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse> listUsageEntries(
        io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListUsageEntriesMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_USAGE_RECORDS = 0;
  private static final int METHODID_SUMMARIZE_USAGE = 1;
  private static final int METHODID_LIST_USAGE_ENTRIES = 2;

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
        case METHODID_LIST_USAGE_RECORDS:
          serviceImpl.listUsageRecords((io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse>) responseObserver);
          break;
        case METHODID_SUMMARIZE_USAGE:
          serviceImpl.summarizeUsage((io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse>) responseObserver);
          break;
        case METHODID_LIST_USAGE_ENTRIES:
          serviceImpl.listUsageEntries((io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse>) responseObserver);
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
          getListUsageRecordsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ListUsageRecordsRequest,
              io.tokengrpc.tokenstreaming.v1.ListUsageRecordsResponse>(
                service, METHODID_LIST_USAGE_RECORDS)))
        .addMethod(
          getSummarizeUsageMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.SummarizeUsageRequest,
              io.tokengrpc.tokenstreaming.v1.SummarizeUsageResponse>(
                service, METHODID_SUMMARIZE_USAGE)))
        .addMethod(
          getListUsageEntriesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ListUsageEntriesRequest,
              io.tokengrpc.tokenstreaming.v1.ListUsageEntriesResponse>(
                service, METHODID_LIST_USAGE_ENTRIES)))
        .build();
  }

  private static abstract class UsageServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    UsageServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.tokengrpc.tokenstreaming.v1.UsageServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("UsageService");
    }
  }

  private static final class UsageServiceFileDescriptorSupplier
      extends UsageServiceBaseDescriptorSupplier {
    UsageServiceFileDescriptorSupplier() {}
  }

  private static final class UsageServiceMethodDescriptorSupplier
      extends UsageServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    UsageServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (UsageServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new UsageServiceFileDescriptorSupplier())
              .addMethod(getListUsageRecordsMethod())
              .addMethod(getSummarizeUsageMethod())
              .addMethod(getListUsageEntriesMethod())
              .build();
        }
      }
    }
    return result;
  }
}
