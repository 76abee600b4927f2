// Prints an answer as it arrives, and resumes after a dropped connection: dotnet run -- http://HOST:PORT ID PROMPT

using Grpc.Core;
using Grpc.Net.Client;
using TokenGrpc.TokenStreaming.V1;
using static Grpc.Core.StatusCode;

var (url, id, prompt) = (args[0], args[1], args[2]);
using var channel = GrpcChannel.ForAddress(url);
var client = new TokenStream.TokenStreamClient(channel);
var request = new StreamTokensRequest
{
    GenerationId = id,
    Prompt = prompt,
    Recovery = new Recovery { DisconnectAction = DisconnectAction.Detach },
};
var sequence = 0; // of the last event that has been printed: the cursor
Finished? finished = null;

for (var attempt = 0; finished is null; attempt++)
{
    try
    {
        finished = await ReadAsync();
    }
    catch (RpcException drop) when (
        drop.StatusCode is Unavailable or Cancelled or Internal or Unknown && attempt < 10)
    {
        await Task.Delay(100 << Math.Min(attempt, 4));
    }
}
Console.WriteLine();
if (finished.Status is { Code: not 0 } error)
{
    Console.Error.WriteLine(error.Message);
    return 1;
}
return 0;

// Reads what follows the cursor, to the end of the generation. Fails if the call ends before.
async Task<Finished> ReadAsync()
{
    using var call = sequence == 0
        ? client.StreamTokens(request) // with the same id, it attaches
        : client.ResumeTokens(new ResumeTokensRequest { GenerationId = id, AfterSequence = sequence });
    await foreach (var message in call.ResponseStream.ReadAllAsync())
    {
        foreach (var token in message.Tokens) Console.Write(token.Text);
        sequence = message.Sequence;
        if (message.Finished is not null) return message.Finished;
    }
    throw new RpcException(new Status(Unavailable, "the stream ended without its end"));
}
