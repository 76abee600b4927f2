package io.tokengrpc.tokenstreaming.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Streams the tokens of language-model generations.
 * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class TokenStreamGrpc {

  private TokenStreamGrpc() {}

  public static final java.lang.String SERVICE_NAME = "tokenstreaming.v1.TokenStream";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.StreamTokensRequest,
      io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> getStreamTokensMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "StreamTokens",
      requestType = io.tokengrpc.tokenstreaming.v1.StreamTokensRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.StreamTokensRequest,
      io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> getStreamTokensMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.StreamTokensRequest, io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> getStreamTokensMethod;
    if ((getStreamTokensMethod = TokenStreamGrpc.getStreamTokensMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getStreamTokensMethod = TokenStreamGrpc.getStreamTokensMethod) == null) {
          TokenStreamGrpc.getStreamTokensMethod = getStreamTokensMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.StreamTokensRequest, io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "StreamTokens"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.StreamTokensRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("StreamTokens"))
              .build();
        }
      }
    }
    return getStreamTokensMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest,
      io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> getResumeTokensMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResumeTokens",
      requestType = io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest,
      io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> getResumeTokensMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest, io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> getResumeTokensMethod;
    if ((getResumeTokensMethod = TokenStreamGrpc.getResumeTokensMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getResumeTokensMethod = TokenStreamGrpc.getResumeTokensMethod) == null) {
          TokenStreamGrpc.getResumeTokensMethod = getResumeTokensMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest, io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResumeTokens"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("ResumeTokens"))
              .build();
        }
      }
    }
    return getResumeTokensMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GenerateTextRequest,
      io.tokengrpc.tokenstreaming.v1.GenerateTextResponse> getGenerateTextMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GenerateText",
      requestType = io.tokengrpc.tokenstreaming.v1.GenerateTextRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.GenerateTextResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GenerateTextRequest,
      io.tokengrpc.tokenstreaming.v1.GenerateTextResponse> getGenerateTextMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GenerateTextRequest, io.tokengrpc.tokenstreaming.v1.GenerateTextResponse> getGenerateTextMethod;
    if ((getGenerateTextMethod = TokenStreamGrpc.getGenerateTextMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getGenerateTextMethod = TokenStreamGrpc.getGenerateTextMethod) == null) {
          TokenStreamGrpc.getGenerateTextMethod = getGenerateTextMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.GenerateTextRequest, io.tokengrpc.tokenstreaming.v1.GenerateTextResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GenerateText"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.GenerateTextRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.GenerateTextResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("GenerateText"))
              .build();
        }
      }
    }
    return getGenerateTextMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest,
      io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse> getCancelGenerationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelGeneration",
      requestType = io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest,
      io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse> getCancelGenerationMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest, io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse> getCancelGenerationMethod;
    if ((getCancelGenerationMethod = TokenStreamGrpc.getCancelGenerationMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getCancelGenerationMethod = TokenStreamGrpc.getCancelGenerationMethod) == null) {
          TokenStreamGrpc.getCancelGenerationMethod = getCancelGenerationMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest, io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelGeneration"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("CancelGeneration"))
              .build();
        }
      }
    }
    return getCancelGenerationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GetGenerationRequest,
      io.tokengrpc.tokenstreaming.v1.GetGenerationResponse> getGetGenerationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetGeneration",
      requestType = io.tokengrpc.tokenstreaming.v1.GetGenerationRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.GetGenerationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GetGenerationRequest,
      io.tokengrpc.tokenstreaming.v1.GetGenerationResponse> getGetGenerationMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.GetGenerationRequest, io.tokengrpc.tokenstreaming.v1.GetGenerationResponse> getGetGenerationMethod;
    if ((getGetGenerationMethod = TokenStreamGrpc.getGetGenerationMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getGetGenerationMethod = TokenStreamGrpc.getGetGenerationMethod) == null) {
          TokenStreamGrpc.getGetGenerationMethod = getGetGenerationMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.GetGenerationRequest, io.tokengrpc.tokenstreaming.v1.GetGenerationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetGeneration"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.GetGenerationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.GetGenerationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("GetGeneration"))
              .build();
        }
      }
    }
    return getGetGenerationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CountTokensRequest,
      io.tokengrpc.tokenstreaming.v1.CountTokensResponse> getCountTokensMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CountTokens",
      requestType = io.tokengrpc.tokenstreaming.v1.CountTokensRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.CountTokensResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CountTokensRequest,
      io.tokengrpc.tokenstreaming.v1.CountTokensResponse> getCountTokensMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.CountTokensRequest, io.tokengrpc.tokenstreaming.v1.CountTokensResponse> getCountTokensMethod;
    if ((getCountTokensMethod = TokenStreamGrpc.getCountTokensMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getCountTokensMethod = TokenStreamGrpc.getCountTokensMethod) == null) {
          TokenStreamGrpc.getCountTokensMethod = getCountTokensMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.CountTokensRequest, io.tokengrpc.tokenstreaming.v1.CountTokensResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CountTokens"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CountTokensRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.CountTokensResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("CountTokens"))
              .build();
        }
      }
    }
    return getCountTokensMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListModelsRequest,
      io.tokengrpc.tokenstreaming.v1.ListModelsResponse> getListModelsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListModels",
      requestType = io.tokengrpc.tokenstreaming.v1.ListModelsRequest.class,
      responseType = io.tokengrpc.tokenstreaming.v1.ListModelsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListModelsRequest,
      io.tokengrpc.tokenstreaming.v1.ListModelsResponse> getListModelsMethod() {
    io.grpc.MethodDescriptor<io.tokengrpc.tokenstreaming.v1.ListModelsRequest, io.tokengrpc.tokenstreaming.v1.ListModelsResponse> getListModelsMethod;
    if ((getListModelsMethod = TokenStreamGrpc.getListModelsMethod) == null) {
      synchronized (TokenStreamGrpc.class) {
        if ((getListModelsMethod = TokenStreamGrpc.getListModelsMethod) == null) {
          TokenStreamGrpc.getListModelsMethod = getListModelsMethod =
              io.grpc.MethodDescriptor.<io.tokengrpc.tokenstreaming.v1.ListModelsRequest, io.tokengrpc.tokenstreaming.v1.ListModelsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListModels"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListModelsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.tokengrpc.tokenstreaming.v1.ListModelsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TokenStreamMethodDescriptorSupplier("ListModels"))
              .build();
        }
      }
    }
    return getListModelsMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static TokenStreamStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TokenStreamStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TokenStreamStub>() {
        @java.lang.Override
        public TokenStreamStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TokenStreamStub(channel, callOptions);
        }
      };
    return TokenStreamStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static TokenStreamBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TokenStreamBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TokenStreamBlockingV2Stub>() {
        @java.lang.Override
        public TokenStreamBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TokenStreamBlockingV2Stub(channel, callOptions);
        }
      };
    return TokenStreamBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static TokenStreamBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TokenStreamBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TokenStreamBlockingStub>() {
        @java.lang.Override
        public TokenStreamBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TokenStreamBlockingStub(channel, callOptions);
        }
      };
    return TokenStreamBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static TokenStreamFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TokenStreamFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TokenStreamFutureStub>() {
        @java.lang.Override
        public TokenStreamFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TokenStreamFutureStub(channel, callOptions);
        }
      };
    return TokenStreamFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Streams the tokens of language-model generations.
   * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Starts a generation and streams its events. If an equal request is already using the `generation_id`, the
     * call attaches to that generation instead and streams it from its first event.
     * The server sends nothing, not even headers, until an engine has accepted the request or the first heartbeat
     * is due. Until then, the client library can retry the call transparently.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * </pre>
     */
    default void streamTokens(io.tokengrpc.tokenstreaming.v1.StreamTokensRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStreamTokensMethod(), responseObserver);
    }

    /**
     * <pre>
     * Streams the events of a generation after a given sequence: first the stored ones, then live ones, each once
     * and in order. A second reader attaches with it as well. Resuming after `finished` returns no message; the
     * trailing status is that of the generation.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * buf:lint:ignore RPC_RESPONSE_STANDARD_NAME - both streams carry the same events to the same code.
     * </pre>
     */
    default void resumeTokens(io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResumeTokensMethod(), responseObserver);
    }

    /**
     * <pre>
     * Runs a generation and returns its result when it has ended successfully. Otherwise it fails with the status
     * that `finished` would have. The call is a reader like a streaming one: the same id attaches, and cancelling
     * the call disconnects the reader.
     * </pre>
     */
    default void generateText(io.tokengrpc.tokenstreaming.v1.GenerateTextRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GenerateTextResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGenerateTextMethod(), responseObserver);
    }

    /**
     * <pre>
     * Stops a generation for all its readers. Any caller of the tenant may do so. Returns within a few seconds,
     * when the generation has ended, with its final usage. Idempotent: a generation that has already ended is
     * returned unchanged.
     * </pre>
     */
    default void cancelGeneration(io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelGenerationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Returns the state, usage, stored events and outcome of a generation. Authoritative after a crash. Once its events
     * are no longer stored, the answer is what the usage ledger has, if the server can read its ledger: `start_time` and
     * `log_incarnation` are then unset, and of an error only the code and the reason are known.
     * </pre>
     */
    default void getGeneration(io.tokengrpc.tokenstreaming.v1.GetGenerationRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GetGenerationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetGenerationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Counts the input tokens that a request would be billed for, including those of its tools, without running
     * it.
     * </pre>
     */
    default void countTokens(io.tokengrpc.tokenstreaming.v1.CountTokensRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CountTokensResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCountTokensMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists the models that the caller may use, ordered by name.
     * </pre>
     */
    default void listModels(io.tokengrpc.tokenstreaming.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListModelsMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service TokenStream.
   * <pre>
   * Streams the tokens of language-model generations.
   * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
   * </pre>
   */
  public static abstract class TokenStreamImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return TokenStreamGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service TokenStream.
   * <pre>
   * Streams the tokens of language-model generations.
   * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
   * </pre>
   */
  public static final class TokenStreamStub
      extends io.grpc.stub.AbstractAsyncStub<TokenStreamStub> {
    private TokenStreamStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TokenStreamStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TokenStreamStub(channel, callOptions);
    }

    /**
     * <pre>
     * Starts a generation and streams its events. If an equal request is already using the `generation_id`, the
     * call attaches to that generation instead and streams it from its first event.
     * The server sends nothing, not even headers, until an engine has accepted the request or the first heartbeat
     * is due. Until then, the client library can retry the call transparently.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * </pre>
     */
    public void streamTokens(io.tokengrpc.tokenstreaming.v1.StreamTokensRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getStreamTokensMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Streams the events of a generation after a given sequence: first the stored ones, then live ones, each once
     * and in order. A second reader attaches with it as well. Resuming after `finished` returns no message; the
     * trailing status is that of the generation.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * buf:lint:ignore RPC_RESPONSE_STANDARD_NAME - both streams carry the same events to the same code.
     * </pre>
     */
    public void resumeTokens(io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getResumeTokensMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Runs a generation and returns its result when it has ended successfully. Otherwise it fails with the status
     * that `finished` would have. The call is a reader like a streaming one: the same id attaches, and cancelling
     * the call disconnects the reader.
     * </pre>
     */
    public void generateText(io.tokengrpc.tokenstreaming.v1.GenerateTextRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GenerateTextResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGenerateTextMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Stops a generation for all its readers. Any caller of the tenant may do so. Returns within a few seconds,
     * when the generation has ended, with its final usage. Idempotent: a generation that has already ended is
     * returned unchanged.
     * </pre>
     */
    public void cancelGeneration(io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelGenerationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Returns the state, usage, stored events and outcome of a generation. Authoritative after a crash. Once its events
     * are no longer stored, the answer is what the usage ledger has, if the server can read its ledger: `start_time` and
     * `log_incarnation` are then unset, and of an error only the code and the reason are known.
     * </pre>
     */
    public void getGeneration(io.tokengrpc.tokenstreaming.v1.GetGenerationRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GetGenerationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetGenerationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Counts the input tokens that a request would be billed for, including those of its tools, without running
     * it.
     * </pre>
     */
    public void countTokens(io.tokengrpc.tokenstreaming.v1.CountTokensRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CountTokensResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCountTokensMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists the models that the caller may use, ordered by name.
     * </pre>
     */
    public void listModels(io.tokengrpc.tokenstreaming.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service TokenStream.
   * <pre>
   * Streams the tokens of language-model generations.
   * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
   * </pre>
   */
  public static final class TokenStreamBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<TokenStreamBlockingV2Stub> {
    private TokenStreamBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TokenStreamBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TokenStreamBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Starts a generation and streams its events. If an equal request is already using the `generation_id`, the
     * call attaches to that generation instead and streams it from its first event.
     * The server sends nothing, not even headers, until an engine has accepted the request or the first heartbeat
     * is due. Until then, the client library can retry the call transparently.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>
        streamTokens(io.tokengrpc.tokenstreaming.v1.StreamTokensRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getStreamTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Streams the events of a generation after a given sequence: first the stored ones, then live ones, each once
     * and in order. A second reader attaches with it as well. Resuming after `finished` returns no message; the
     * trailing status is that of the generation.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * buf:lint:ignore RPC_RESPONSE_STANDARD_NAME - both streams carry the same events to the same code.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>
        resumeTokens(io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getResumeTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Runs a generation and returns its result when it has ended successfully. Otherwise it fails with the status
     * that `finished` would have. The call is a reader like a streaming one: the same id attaches, and cancelling
     * the call disconnects the reader.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.GenerateTextResponse generateText(io.tokengrpc.tokenstreaming.v1.GenerateTextRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGenerateTextMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Stops a generation for all its readers. Any caller of the tenant may do so. Returns within a few seconds,
     * when the generation has ended, with its final usage. Idempotent: a generation that has already ended is
     * returned unchanged.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse cancelGeneration(io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelGenerationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Returns the state, usage, stored events and outcome of a generation. Authoritative after a crash. Once its events
     * are no longer stored, the answer is what the usage ledger has, if the server can read its ledger: `start_time` and
     * `log_incarnation` are then unset, and of an error only the code and the reason are known.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.GetGenerationResponse getGeneration(io.tokengrpc.tokenstreaming.v1.GetGenerationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetGenerationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Counts the input tokens that a request would be billed for, including those of its tools, without running
     * it.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CountTokensResponse countTokens(io.tokengrpc.tokenstreaming.v1.CountTokensRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCountTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the models that the caller may use, ordered by name.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListModelsResponse listModels(io.tokengrpc.tokenstreaming.v1.ListModelsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service TokenStream.
   * <pre>
   * Streams the tokens of language-model generations.
   * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
   * </pre>
   */
  public static final class TokenStreamBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<TokenStreamBlockingStub> {
    private TokenStreamBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TokenStreamBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TokenStreamBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Starts a generation and streams its events. If an equal request is already using the `generation_id`, the
     * call attaches to that generation instead and streams it from its first event.
     * The server sends nothing, not even headers, until an engine has accepted the request or the first heartbeat
     * is due. Until then, the client library can retry the call transparently.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * </pre>
     */
    public java.util.Iterator<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> streamTokens(
        io.tokengrpc.tokenstreaming.v1.StreamTokensRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getStreamTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Streams the events of a generation after a given sequence: first the stored ones, then live ones, each once
     * and in order. A second reader attaches with it as well. Resuming after `finished` returns no message; the
     * trailing status is that of the generation.
     * buf:lint:ignore RPC_REQUEST_RESPONSE_UNIQUE - both streams carry the same events to the same code.
     * buf:lint:ignore RPC_RESPONSE_STANDARD_NAME - both streams carry the same events to the same code.
     * </pre>
     */
    public java.util.Iterator<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse> resumeTokens(
        io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getResumeTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Runs a generation and returns its result when it has ended successfully. Otherwise it fails with the status
     * that `finished` would have. The call is a reader like a streaming one: the same id attaches, and cancelling
     * the call disconnects the reader.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.GenerateTextResponse generateText(io.tokengrpc.tokenstreaming.v1.GenerateTextRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGenerateTextMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Stops a generation for all its readers. Any caller of the tenant may do so. Returns within a few seconds,
     * when the generation has ended, with its final usage. Idempotent: a generation that has already ended is
     * returned unchanged.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse cancelGeneration(io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelGenerationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Returns the state, usage, stored events and outcome of a generation. Authoritative after a crash. Once its events
     * are no longer stored, the answer is what the usage ledger has, if the server can read its ledger: `start_time` and
     * `log_incarnation` are then unset, and of an error only the code and the reason are known.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.GetGenerationResponse getGeneration(io.tokengrpc.tokenstreaming.v1.GetGenerationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetGenerationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Counts the input tokens that a request would be billed for, including those of its tools, without running
     * it.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.CountTokensResponse countTokens(io.tokengrpc.tokenstreaming.v1.CountTokensRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCountTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the models that the caller may use, ordered by name.
     * </pre>
     */
    public io.tokengrpc.tokenstreaming.v1.ListModelsResponse listModels(io.tokengrpc.tokenstreaming.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service TokenStream.
   * <pre>
   * Streams the tokens of language-model generations.
   * buf:lint:ignore SERVICE_SUFFIX - the service is known by this name in health checks and stubs.
   * </pre>
   */
  public static final class TokenStreamFutureStub
      extends io.grpc.stub.AbstractFutureStub<TokenStreamFutureStub> {
    private TokenStreamFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TokenStreamFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TokenStreamFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Runs a generation and returns its result when it has ended successfully. Otherwise it fails with the status
     * that `finished` would have. The call is a reader like a streaming one: the same id attaches, and cancelling
     * the call disconnects the reader.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.GenerateTextResponse> generateText(
        io.tokengrpc.tokenstreaming.v1.GenerateTextRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGenerateTextMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Stops a generation for all its readers. Any caller of the tenant may do so. Returns within a few seconds,
     * when the generation has ended, with its final usage. Idempotent: a generation that has already ended is
     * returned unchanged.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse> cancelGeneration(
        io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelGenerationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Returns the state, usage, stored events and outcome of a generation. Authoritative after a crash. Once its events
     * are no longer stored, the answer is what the usage ledger has, if the server can read its ledger: `start_time` and
     * `log_incarnation` are then unset, and of an error only the code and the reason are known.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.GetGenerationResponse> getGeneration(
        io.tokengrpc.tokenstreaming.v1.GetGenerationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetGenerationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Counts the input tokens that a request would be billed for, including those of its tools, without running
     * it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.CountTokensResponse> countTokens(
        io.tokengrpc.tokenstreaming.v1.CountTokensRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCountTokensMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists the models that the caller may use, ordered by name.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.tokengrpc.tokenstreaming.v1.ListModelsResponse> listModels(
        io.tokengrpc.tokenstreaming.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_STREAM_TOKENS = 0;
  private static final int METHODID_RESUME_TOKENS = 1;
  private static final int METHODID_GENERATE_TEXT = 2;
  private static final int METHODID_CANCEL_GENERATION = 3;
  private static final int METHODID_GET_GENERATION = 4;
  private static final int METHODID_COUNT_TOKENS = 5;
  private static final int METHODID_LIST_MODELS = 6;

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
        case METHODID_STREAM_TOKENS:
          serviceImpl.streamTokens((io.tokengrpc.tokenstreaming.v1.StreamTokensRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>) responseObserver);
          break;
        case METHODID_RESUME_TOKENS:
          serviceImpl.resumeTokens((io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>) responseObserver);
          break;
        case METHODID_GENERATE_TEXT:
          serviceImpl.generateText((io.tokengrpc.tokenstreaming.v1.GenerateTextRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GenerateTextResponse>) responseObserver);
          break;
        case METHODID_CANCEL_GENERATION:
          serviceImpl.cancelGeneration((io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse>) responseObserver);
          break;
        case METHODID_GET_GENERATION:
          serviceImpl.getGeneration((io.tokengrpc.tokenstreaming.v1.GetGenerationRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.GetGenerationResponse>) responseObserver);
          break;
        case METHODID_COUNT_TOKENS:
          serviceImpl.countTokens((io.tokengrpc.tokenstreaming.v1.CountTokensRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.CountTokensResponse>) responseObserver);
          break;
        case METHODID_LIST_MODELS:
          serviceImpl.listModels((io.tokengrpc.tokenstreaming.v1.ListModelsRequest) request,
              (io.grpc.stub.StreamObserver<io.tokengrpc.tokenstreaming.v1.ListModelsResponse>) responseObserver);
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
          getStreamTokensMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.StreamTokensRequest,
              io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>(
                service, METHODID_STREAM_TOKENS)))
        .addMethod(
          getResumeTokensMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest,
              io.tokengrpc.tokenstreaming.v1.StreamTokensResponse>(
                service, METHODID_RESUME_TOKENS)))
        .addMethod(
          getGenerateTextMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.GenerateTextRequest,
              io.tokengrpc.tokenstreaming.v1.GenerateTextResponse>(
                service, METHODID_GENERATE_TEXT)))
        .addMethod(
          getCancelGenerationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest,
              io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse>(
                service, METHODID_CANCEL_GENERATION)))
        .addMethod(
          getGetGenerationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.GetGenerationRequest,
              io.tokengrpc.tokenstreaming.v1.GetGenerationResponse>(
                service, METHODID_GET_GENERATION)))
        .addMethod(
          getCountTokensMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.CountTokensRequest,
              io.tokengrpc.tokenstreaming.v1.CountTokensResponse>(
                service, METHODID_COUNT_TOKENS)))
        .addMethod(
          getListModelsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.tokengrpc.tokenstreaming.v1.ListModelsRequest,
              io.tokengrpc.tokenstreaming.v1.ListModelsResponse>(
                service, METHODID_LIST_MODELS)))
        .build();
  }

  private static abstract class TokenStreamBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    TokenStreamBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.tokengrpc.tokenstreaming.v1.TokenStreamProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("TokenStream");
    }
  }

  private static final class TokenStreamFileDescriptorSupplier
      extends TokenStreamBaseDescriptorSupplier {
    TokenStreamFileDescriptorSupplier() {}
  }

  private static final class TokenStreamMethodDescriptorSupplier
      extends TokenStreamBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    TokenStreamMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (TokenStreamGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new TokenStreamFileDescriptorSupplier())
              .addMethod(getStreamTokensMethod())
              .addMethod(getResumeTokensMethod())
              .addMethod(getGenerateTextMethod())
              .addMethod(getCancelGenerationMethod())
              .addMethod(getGetGenerationMethod())
              .addMethod(getCountTokensMethod())
              .addMethod(getListModelsMethod())
              .build();
        }
      }
    }
    return result;
  }
}
