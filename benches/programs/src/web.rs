//! A web server: tiny_http on the loopback interface, asked by two clients
//! over connections that they keep. A unit of work is one request, in
//! the processor time of all threads, the clients' too.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use bench_peers::measure::Run;
use tiny_http::{Header, Response, Server};

const CLIENTS: usize = 2;

pub fn run(run: &mut Run) {
    let requests = run.arguments.get("requests", 4_000) / CLIENTS;
    let server = Arc::new(Server::http("127.0.0.1:0").expect("the loopback interface is there"));
    let address = server.server_addr().to_ip().expect("it listens on TCP");
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || serve(&server))
        })
        .collect();
    run.time_threads(requests * CLIENTS, || {
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || ask(address, client, requests).expect("the server answers"));
            }
        });
    });
    for _ in &workers {
        server.unblock();
    }
    for worker in workers {
        worker.join().expect("no worker panics");
    }
}

/// Answers with a small page that repeats the request.
fn serve(server: &Server) {
    while let Ok(mut request) = server.recv() {
        let mut body = String::new();
        request.as_reader().read_to_string(&mut body).expect("the body is text");
        let items: Vec<String> =
            body.split(',').map(|item| format!("<li>{}: {}</li>", item, item.len())).collect();
        let page = format!("<h1>{}</h1><ul>{}</ul>", request.url(), items.join("\n"));
        let kind = Header::from_bytes("Content-Type", "text/html").expect("the header is right");
        // A client that went away is not this program's concern.
        let _ = request.respond(Response::from_string(page).with_header(kind));
    }
}

fn ask(address: SocketAddr, client: usize, requests: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let body: Vec<String> = (0..20).map(|item| format!("item{item}")).collect();
    let body = body.join(",");
    for request in 0..requests {
        let head = format!(
            "POST /client/{client}/{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            answers.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().expect("a length is a number");
                }
            }
        }
        let mut page = vec![0; length];
        answers.read_exact(&mut page)?;
        assert!(page.starts_with(b"<h1>/client"), "another page");
    }
    Ok(())
}
