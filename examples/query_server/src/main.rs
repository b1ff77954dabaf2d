//! A server in which every request is an expert, a child of its tenant's. Each request has
//! a quota and a deadline, and does not disturb the others. The requests misbehave on
//! purpose; see `work` for the kinds.
//!
//! ```sh
//! cargo run --release -- 127.0.0.1:8080
//! curl http://127.0.0.1:8080/t/acme/good
//! curl http://127.0.0.1:8080/experts
//! ```

mod request;
mod routes;
mod tenants;
mod work;

use std::error::Error;

use expert_alloc::ExpertAlloc;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, routes::router()).with_graceful_shutdown(stop).await?;
    Ok(())
}
