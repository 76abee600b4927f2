# Prints an answer as it arrives, and resumes after a dropped connection: ruby -I gen reader.rb HOST:PORT ID PROMPT
require 'grpc'
require 'tokenstreaming/v1/token_stream_services_pb'

V1 = TokenGrpc::TokenStreaming::V1
DROPPED = [GRPC::Unavailable, GRPC::Cancelled, GRPC::Internal, GRPC::Unknown].freeze

target, id, prompt = ARGV
stub = V1::TokenStream::Stub.new(target, :this_channel_is_insecure)
request = V1::StreamTokensRequest.new(
  generation_id: id, prompt: prompt, recovery: { disconnect_action: :DISCONNECT_ACTION_DETACH }
)
sequence = 0 # of the last event that has been printed: the cursor
finished = nil
attempt = 0
until finished
  begin
    stream = if sequence.zero?
               stub.stream_tokens(request) # with the same id, it attaches
             else
               stub.resume_tokens(V1::ResumeTokensRequest.new(generation_id: id, after_sequence: sequence))
             end
    stream.each do |message|
      message.tokens.each { |token| print token.text }
      $stdout.flush
      sequence = message.sequence
      break if (finished = message.finished)
    end
    raise GRPC::Unavailable, 'the stream ended without its end' unless finished
  rescue *DROPPED
    break if finished
    raise if attempt == 10
    sleep 0.1 * 2**[attempt, 4].min
    attempt += 1
  end
end
status = finished.status
puts
abort status.message if status && status.code != 0
