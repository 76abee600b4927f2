//! Prints an answer as it arrives, and resumes after a dropped connection: reader URL ID PROMPT

use std::{env, io::Write, time::Duration};

use proto::{
    DisconnectAction, Finished, Recovery, ResumeTokensRequest, StreamTokensRequest,
    stream_tokens_request::Input, stream_tokens_response::Event,
    token_stream_client::TokenStreamClient,
};
use tonic::{Code, Status, transport::Endpoint};

mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}
mod tokenstreaming {
    pub mod v1 {
        tonic::include_proto!("tokenstreaming.v1");
    }
}
use tokenstreaming::v1 as proto;

const DROPPED: [Code; 4] = [
    Code::Unavailable,
    Code::Cancelled,
    Code::Internal,
    Code::Unknown,
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [url, id, prompt] = env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .expect("reader URL ID PROMPT");
    let request = StreamTokensRequest {
        generation_id: id,
        input: Some(Input::Prompt(prompt)),
        recovery: Some(Recovery {
            disconnect_action: DisconnectAction::Detach.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut client = TokenStreamClient::new(Endpoint::from_shared(url)?.connect_lazy());
    let mut sequence = 0; // of the last event that has been printed: the cursor
    let mut attempt = 0u32;
    let finished = loop {
        match read(&mut client, &request, &mut sequence).await {
            Ok(finished) => break finished,
            Err(status) if attempt == 10 || !DROPPED.contains(&status.code()) => {
                return Err(status.into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100 << attempt.min(4))).await,
        }
        attempt += 1;
    };
    println!();
    match finished.status {
        Some(status) if status.code != 0 => {
            Err(Status::new(Code::from(status.code), status.message).into())
        }
        _ => Ok(()),
    }
}

/// Reads what follows the cursor, to the end of the generation. Fails if the call ends before.
async fn read(
    client: &mut TokenStreamClient<tonic::transport::Channel>,
    request: &StreamTokensRequest,
    sequence: &mut i32,
) -> Result<Finished, Status> {
    let mut stream = match *sequence {
        0 => client.stream_tokens(request.clone()).await?, // with the same id, it attaches
        after => {
            let resume = ResumeTokensRequest {
                generation_id: request.generation_id.clone(),
                after_sequence: after,
                ..Default::default()
            };
            client.resume_tokens(resume).await?
        }
    }
    .into_inner();
    while let Some(message) = stream.message().await? {
        for token in message.tokens {
            print!("{}", token.text);
        }
        std::io::stdout().flush().ok();
        *sequence = message.sequence;
        if let Some(Event::Finished(finished)) = message.event {
            return Ok(finished);
        }
    }
    Err(Status::unavailable("the stream ended without its end"))
}
