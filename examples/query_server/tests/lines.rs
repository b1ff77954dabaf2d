//! The server of the guide's page on servers: the page has its very text, and it
//! answers as the page says.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn the_page_has_the_text_of_the_program() {
    let page = include_str!("../../../docs/guide/servers.md");
    let (_, program) = include_str!("../src/bin/lines.rs").split_once("\n\n").unwrap();
    assert!(page.contains(&format!("```rust,ignore\n{program}```\n")), "copy the program");
}

#[test]
fn each_line_is_an_expert_with_a_quota() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lines"));
    command.arg("127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("listening on ").unwrap();

    let mut stream = TcpStream::connect(address).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut ask = |line: &str| {
        writeln!(stream, "{line}").unwrap();
        answers.next().unwrap().unwrap()
    };
    assert_eq!(ask("one two three"), "3 words");
    assert_eq!(ask("repeat 1000"), "x".repeat(1000));
    assert_eq!(ask("repeat 2000000"), "too much memory");
    assert_eq!(
        ask("repeat often"),
        "failed: panicked: a number: ParseIntError { kind: InvalidDigit }"
    );
    assert_eq!(ask("four"), "1 words");
    stream.shutdown(Shutdown::Both).unwrap();

    // The connection's expert ends with its task: a new connection sees itself only.
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        writeln!(stream, "report").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let report = BufReader::new(stream).lines().map(Result::unwrap);
        let rows = report.filter(|row| row.contains("127.0.0.1:") || row.contains("request"));
        if rows.count() == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the connection's expert lives");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}
