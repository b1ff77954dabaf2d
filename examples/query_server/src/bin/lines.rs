//! A server on tokio in which every line is a request: the program of the guide's page on
//! servers, word for word below this line. `tests/lines.rs` runs it.

use expert_alloc::{Error, ExpertAlloc, FailureKind, SharedExpert, State};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// What a request does: `repeat 1000` answers with a long line, other words are counted.
async fn answer(line: &str) -> String {
    match line.split_once(' ') {
        Some(("repeat", times)) => "x".repeat(times.parse().expect("a number")),
        _ => format!("{} words", line.split(' ').count()),
    }
}

/// One request: an expert with a quota, below that of its connection.
async fn request(line: &str, connection: &SharedExpert) -> Result<String, Error> {
    let expert = ALLOC.expert("request").parent(connection).quota(1 << 20).register()?;
    let outcome = expert.run_async(answer(line)).await;
    let text = match outcome {
        // The request passed its quota and returned at the same poll, before it could be
        // stopped.
        Ok(_) if expert.state() == State::Overdrawn => "too much memory".into(),
        Ok(text) => text,
        Err(failure) if failure.kind() == FailureKind::OverQuota => "too much memory".into(),
        Err(failure) => format!("failed: {failure}"),
    };
    // `text` may be the request's block: the connection copies it before the end.
    let text = format!("{text}\n");
    let _ = expert.finish();
    Ok(text)
}

async fn serve(stream: TcpStream, connection: SharedExpert) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let text = match &line[..] {
            "report" => ALLOC.report().to_string(),
            line => request(line, &connection).await.map_err(std::io::Error::other)?,
        };
        write.write_all(text.as_bytes()).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ALLOC.warm_up();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let connection = ALLOC.expert(&peer.to_string()).quota(8 << 20).register()?.into_shared();
        // The task keeps the expert, which ends with the task.
        tokio::spawn(connection.run_async(serve(stream, connection.clone())));
    }
}
