// Prints an answer as it arrives, and resumes after a dropped connection: reader HOST:PORT ID PROMPT

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

#include "tokenstreaming/v1/token_stream.grpc.pb.h"

namespace v1 = tokenstreaming::v1;

// Reads what follows the cursor, to the end of the generation. Returns the error of a call that ends before.
grpc::Status Read(v1::TokenStream::Stub& stub, const v1::StreamTokensRequest& request, int* sequence,
                  v1::Finished* finished) {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::StreamTokensResponse>> stream;
  if (*sequence == 0) {
    stream = stub.StreamTokens(&context, request);  // with the same id, it attaches
  } else {
    v1::ResumeTokensRequest resume;
    resume.set_generation_id(request.generation_id());
    resume.set_after_sequence(*sequence);
    stream = stub.ResumeTokens(&context, resume);
  }
  v1::StreamTokensResponse message;
  while (stream->Read(&message)) {
    for (const auto& token : message.tokens()) std::cout << token.text() << std::flush;
    *sequence = message.sequence();
    if (message.has_finished()) {
      *finished = message.finished();
      return grpc::Status::OK;
    }
  }
  const auto status = stream->Finish();
  return status.ok() ? grpc::Status(grpc::UNAVAILABLE, "the stream ended without its end") : status;
}

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "usage: reader HOST:PORT ID PROMPT\n", 2;
  v1::TokenStream::Stub stub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  v1::StreamTokensRequest request;
  request.set_generation_id(argv[2]);
  request.set_prompt(argv[3]);
  request.mutable_recovery()->set_disconnect_action(v1::DISCONNECT_ACTION_DETACH);
  int sequence = 0;  // of the last event that has been printed: the cursor
  v1::Finished finished;
  for (int attempt = 0;; attempt++) {
    const auto status = Read(stub, request, &sequence, &finished);
    if (status.ok()) break;
    const auto code = status.error_code();
    const bool dropped = code == grpc::UNAVAILABLE || code == grpc::CANCELLED || code == grpc::INTERNAL || code == grpc::UNKNOWN;
    if (!dropped || attempt == 10) return std::cerr << code << ": " << status.error_message() << "\n", 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(100 << std::min(attempt, 4)));
  }
  std::cout << "\n";
  if (finished.status().code() != 0) return std::cerr << finished.status().message() << "\n", 1;
}
