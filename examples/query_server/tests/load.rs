//! The server under load from `wrk`, all kinds of requests mixed: all good ones are
//! answered and wait for no bad one, memory returns to its initial level, and every figure
//! adds up.
//!
//! `QUERY_SERVER_SECONDS` says how long each run of the load is: 4 by default. With 60,
//! more than 10,000 requests panic with a backtrace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

const GOOD: [&str; 4] = ["good", "table", "spawn", "blocking"];
const BAD: [&str; 5] = ["hog", "panic", "leak", "never", "detached"];

/// The longest time that a good request may take, whatever the bad ones do. It is a hundred
/// times the usual time, because the machine may have other work.
const LONGEST: Duration = Duration::from_secs(5);

struct Server {
    child: Child,
    address: String,
}

/// The quota of a request.
const QUOTA: u64 = 1 << 20;

/// What one poll of `hog` allocates at most: 64 KiB, and a longer list of what it holds.
const POLL: u64 = (64 << 10) + (4 << 10);

/// What wrk found.
#[derive(Debug)]
struct Load {
    answers: u64,
    longest: Duration,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_query_server"));
        command.arg("127.0.0.1:0").env("RUST_BACKTRACE", "1");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().into();
        Self { child, address }
    }

    /// Sends a request, whose answer is read from the result.
    fn send(&self, method: &str, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str) -> String {
        let mut answer = String::new();
        self.send(method, path).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        body.into()
    }

    /// The row of a tenant.
    fn tenant(&self, name: &str) -> Value {
        let rows: Value = serde_json::from_str(&self.ask("GET", "/experts")).unwrap();
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    /// Waits until no request of the tenant's runs any more.
    fn quiet(&self, name: &str) -> Value {
        let started = Instant::now();
        loop {
            let row = self.tenant(name);
            if row["subtree"]["charged_bytes"] == 0 && row["subtree"]["live_blocks"] == 0 {
                return row;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{row}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Resident memory in bytes, after free memory was given back.
    fn resident(&self) -> usize {
        for _ in 0..20 {
            self.ask("POST", "/purge");
            std::thread::sleep(Duration::from_millis(50));
        }
        let path = format!("/proc/{}/statm", self.child.id());
        let pages: usize =
            std::fs::read_to_string(path).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// Starts wrk with this many connections on these kinds.
    fn load(&self, tenant: &str, kinds: &[&str], connections: usize, seconds: u64) -> Child {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "--timeout", "20s"]).arg(format!("-c{connections}"));
        wrk.arg(format!("-d{seconds}s")).arg("-s");
        wrk.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests.lua"));
        wrk.arg(format!("http://{}", self.address)).arg("--").arg(tenant).args(kinds);
        wrk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for wrk. Every answer was the one that its kind must get.
fn result(wrk: Child) -> Load {
    let output = wrk.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let figures: Vec<&str> = line.splitn(5, ' ').collect();
    let [answers, wrong, lost, longest] = [0, 1, 2, 3].map(|n| figures[n].parse::<u64>().unwrap());
    assert_eq!((wrong, lost), (0, 0), "{text}");
    Load { answers, longest: Duration::from_micros(longest) }
}

fn outcome(row: &Value, name: &str) -> u64 {
    row["outcomes"][name].as_u64().unwrap()
}

/// Waits until no other test has a server: their times would be those of both.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());

    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds() -> u64 {
    std::env::var("QUERY_SERVER_SECONDS").map_or(4, |text| text.parse().unwrap())
}

/// Many requests that have no end before their deadline: no good one waits for them.
#[test]
fn good_requests_wait_for_nobody() {
    let (_alone, server) = (alone(), Server::start());
    let _ = result(server.load("warm", &GOOD, 2, 1));
    let before = Instant::now();
    let never = || server.send("GET", "/t/acme/never?deadline=6000");
    let waiting: Vec<_> = (0..64).map(|_| never()).collect();
    let good = result(server.load("acme", &GOOD, 2, 2));
    println!("{good:?} beside 64 that wait");
    assert!(before.elapsed() < Duration::from_secs(6), "they wait no more");
    assert!(good.answers > 100 && good.longest < Duration::from_secs(2), "{good:?}");
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    }
}

/// No panic with a backtrace hangs, or harms a good request beside it.
#[test]
fn no_panic_hangs() {
    let (_alone, server, least) = (alone(), Server::start(), 170 * seconds());
    let mut panicked = 0;
    while panicked < least {
        let good = server.load("acme", &GOOD, 2, 2);
        let _ = result(server.load("panics", &["panic"], 64, 2));
        assert!(result(good).longest < LONGEST);
        let now = outcome(&server.quiet("panics"), "panicked");
        assert!(now > panicked, "none of {now} in two seconds");
        panicked = now;
    }
    println!("{panicked} panics with backtraces");
    let panics = server.quiet("panics");
    assert_eq!(panics["reclaimed_blocks"], 0);
    assert!(panics["largest_request"].as_u64().unwrap() < 64 << 10, "{panics}");
}

/// Tasks that a request spawns are beyond its quota for as long as it takes to stop it.
#[test]
fn spawned_tasks_end_with_a_request_over_its_quota() {
    let (_alone, server) = (alone(), Server::start());
    let good = server.load("acme", &GOOD, 2, 2);
    let _ = result(server.load("swarms", &["swarm"], 2, 2));
    let _ = result(good);
    let swarms = server.quiet("swarms");
    println!("{swarms}");
    assert!(outcome(&swarms, "over_quota") > 20 && outcome(&swarms, "answered") == 0, "{swarms}");
    // Left alone, four tasks hold up to 400 MiB.
    assert!(swarms["largest_request"].as_u64().unwrap() < 64 * QUOTA, "{swarms}");
}

#[test]
fn good_requests_are_answered_whatever_the_others_do() {
    let (_alone, seconds, server) = (alone(), seconds(), Server::start());
    // Warms up threads, symbols and connections, which are made once.
    let warm = [server.load("warm", &GOOD, 64, 2), server.load("warm", &BAD, 64, 2)];
    let _ = warm.map(result);
    server.quiet("warm");
    let before = server.resident();
    for connections in [2, 64] {
        let good = server.load("acme", &GOOD, connections, seconds);
        let bad = server.load("rogue", &BAD, connections, seconds);
        let [good, bad] = [good, bad].map(result);
        println!("{connections} connections: good {good:?}, bad {bad:?}");
        assert!(good.answers > 100 && bad.answers > 20, "{good:?} {bad:?}");
        assert!(good.longest < LONGEST, "{good:?}");
    }
    let (acme, rogue) = (server.quiet("acme"), server.quiet("rogue"));
    println!("{acme}\n{rogue}");
    let failed = ["panicked", "over_quota", "late", "parent_stopped"];
    assert_eq!(failed.map(|name| outcome(&acme, name)), [0; 4]);
    assert_eq!(acme["reclaimed_blocks"], 0);
    // A request that was cut off at the end of the load may be missing in a count.
    let kinds = ["panicked", "over_quota", "late"].map(|name| outcome(&rogue, name));
    let [least, most] = [kinds.iter().min(), kinds.iter().max()].map(|count| *count.unwrap());
    assert!(least > 5 && most - least < 200, "{rogue}");
    // Three blocks of each leaky request came back with it.
    let reclaimed = rogue["reclaimed_blocks"].as_u64().unwrap();
    assert!(reclaimed % 3 == 0 && reclaimed.abs_diff(3 * most) < 600, "{rogue}");
    let largest = rogue["largest_request"].as_u64().unwrap();
    assert!(largest <= QUOTA + POLL, "{rogue}");
    let after = server.resident();
    println!("resident: {} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after < before + (8 << 20), "{before} bytes before, {after} after");
}
