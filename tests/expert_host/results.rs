//! Compares results with the oracle, on made-up traffic, on a small capture whose figures
//! are known by hand, and on real captures if there are some.

use serde_json::{Value, json};

use crate::captures::{self, Captured, TempFile, segment};
use crate::messages::{self, Coalesced};
use crate::oracle;
use crate::packet::{self, Packet};
use crate::program::{self, EXPERTS, expert};

/// Compares all results of a report with the oracle's.
fn check(report: &Value, frames: &[Captured]) {
    check_headers(report, frames);
    let packets: Vec<Packet> = frames.iter().map(packet::parse).collect();
    check_retransmissions(result(report, "tcp-retransmit"), &packets);
    check_responses(result(report, "average-server-response-time"), &packets);
    check_messages(result(report, "protocol-coalesce"), &packets);
}

/// Compares the results that depend on each frame's headers alone.
pub fn check_headers(report: &Value, frames: &[Captured]) {
    let packets: Vec<Packet> = frames.iter().map(packet::parse).collect();
    let malformed = packets.iter().filter(|packet| packet.malformed).count();
    assert_eq!(report["frames"], frames.len());
    assert_eq!(report["malformed"], malformed);
    check_protocols(result(report, "protocol-distribution"), &packets);
    check_users(result(report, "top-users"), &packets);
    let lengths = &result(report, "property-distribution")["values"];
    assert_eq!(lengths, &oracle::property(&packets, |packet| Some(packet.wire_len)));
}

fn result<'a>(report: &'a Value, name: &str) -> &'a Value {
    let expert = expert(report, name);
    assert_eq!(expert["outcome"], "finished", "{name}");
    &expert["result"]
}

fn rows<'a>(result: &'a Value, list: &str) -> &'a [Value] {
    result[list].as_array().unwrap_or_else(|| panic!("no list {list} in {result}"))
}

fn check_protocols(result: &Value, packets: &[Packet]) {
    let expected = oracle::protocols(packets);
    assert_eq!(result["frames"], packets.len());
    assert_eq!(result["bytes"], packets.iter().map(|packet| packet.wire_len).sum::<u64>());
    assert_eq!(rows(result, "protocols").len(), expected.len(), "{result} {expected:?}");
    for row in rows(result, "protocols") {
        let name = row["protocol"].as_str().expect("a name");
        let (frames, bytes) = expected[name];
        assert_eq!((&row["frames"], &row["bytes"]), (&json!(frames), &json!(bytes)), "{name}");
    }
}

fn check_users(result: &Value, packets: &[Packet]) {
    let expected = oracle::users(packets);
    assert_eq!(result["users"], expected.len());
    assert_eq!(rows(result, "top").len(), expected.len());
    let mut before = u64::MAX;
    for row in rows(result, "top") {
        let figures = ["sent_frames", "sent_bytes", "received_frames", "received_bytes"]
            .map(|name| row[name].as_u64().expect("a number"));
        assert_eq!(figures, expected[row["address"].as_str().expect("an address")], "{row}");
        let bytes = figures[1] + figures[3];
        assert!(bytes <= before, "in order of bytes: {row}");
        before = bytes;
    }
}

fn check_retransmissions(result: &Value, packets: &[Packet]) {
    let (sums, pairs) = oracle::retransmissions(packets);
    let names = ["connections", "segments", "retransmitted", "retransmitted_bytes", "keep_alives"];
    for (name, sum) in names.iter().zip(sums) {
        assert_eq!(result[name], sum, "{name}");
    }
    let rows = rows(result, "connections_with_retransmissions");
    assert_eq!(rows.len(), pairs.len());
    for row in rows {
        let (segments, bytes) = pairs[row["connection"].as_str().expect("a connection")];
        let found = (&row["retransmitted"], &row["retransmitted_bytes"]);
        assert_eq!(found, (&json!(segments), &json!(bytes)), "{row}");
    }
}

fn check_responses(result: &Value, packets: &[Packet]) {
    let servers = oracle::responses(packets);
    let mean = |times: &[u64]| {
        let total: u128 = times.iter().map(|&time| u128::from(time)).sum();
        (total / times.len().max(1) as u128) as u64
    };
    let all: Vec<u64> = servers.values().flatten().copied().collect();
    assert_eq!(result["responses"], all.len());
    assert_eq!(result["mean_ns"], mean(&all));
    assert_eq!(rows(result, "servers").len(), servers.len());
    for row in rows(result, "servers") {
        let times = &servers[row["server"].as_str().expect("a server")];
        assert_eq!(row["responses"], times.len(), "{row}");
        assert_eq!(row["mean_ns"], mean(times), "{row}");
        assert_eq!(row["shortest_ns"].as_u64(), times.iter().min().copied(), "{row}");
        assert_eq!(row["longest_ns"].as_u64(), times.iter().max().copied(), "{row}");
    }
}

fn check_messages(result: &Value, packets: &[Packet]) {
    let figure = |name: &str| result[name].as_u64().expect("a number");
    let digest = result["digest"].as_str().expect("a digest");
    let found = Coalesced {
        fragments: figure("fragments"),
        datagrams: figure("datagrams"),
        datagram_bytes: figure("datagram_bytes"),
        incomplete_datagrams: figure("incomplete_datagrams"),
        messages: figure("messages"),
        segments: figure("segments"),
        message_bytes: figure("message_bytes"),
        largest_message: figure("largest_message"),
        lost_bytes: figure("lost_bytes"),
        stranded_bytes: figure("stranded_bytes"),
        digest: u64::from_str_radix(digest, 16).expect("hexadecimal"),
    };
    assert_eq!(found, messages::coalesce(packets));
    let sum = |name: &str| {
        rows(result, "ports").iter().map(|row| row[name].as_u64().expect("a number")).sum::<u64>()
    };
    assert_eq!((sum("messages"), sum("bytes")), (found.messages, found.message_bytes));
}

#[test]
fn made_up_traffic_agrees_with_the_oracle() {
    let report = program::json(&["--top", "0"]);
    assert_eq!(report["frames"], 100_000);
    assert!(report["malformed"].as_u64() > Some(0));
    check(&report, &captures::made_up(100_000));
}

#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn pcap_and_pcapng_of_it_give_the_same_results() {
    let frames = captures::made_up(20_000);
    let made_up = program::json(&["--top", "0", "--frames", "20000"]);
    check(&made_up, &frames);
    for bytes in [captures::pcap(&frames), captures::pcapng(&frames)] {
        let file = TempFile::new(&bytes);
        let read = program::json(&["--top", "0", file.path()]);
        assert_eq!(read["capture"], file.path());
        for name in EXPERTS {
            let (read, made_up) = (expert(&read, name), expert(&made_up, name));
            assert_eq!(read["result"], made_up["result"], "{name}");
        }
    }
}

#[test]
fn every_property_agrees_with_the_oracle() {
    let frames = captures::made_up(5_000);
    let packets: Vec<Packet> = frames.iter().map(packet::parse).collect();
    let port = |protocol: u8, first: bool| {
        move |packet: &Packet| {
            let ports = packet.ports.filter(|_| packet.protocol == protocol)?;
            Some(u64::from(if first { ports.0 } else { ports.1 }))
        }
    };
    let ip = |packet: &Packet| packet.ips.map(|_| ());
    let expected = [
        ("ip-ttl", oracle::property(&packets, |p| ip(p).map(|()| p.ttl.into()))),
        ("ip-protocol", oracle::property(&packets, |p| ip(p).map(|()| p.protocol.into()))),
        ("tcp-source-port", oracle::property(&packets, port(6, true))),
        ("tcp-destination-port", oracle::property(&packets, port(6, false))),
        ("udp-source-port", oracle::property(&packets, port(17, true))),
        ("udp-destination-port", oracle::property(&packets, port(17, false))),
    ];
    let values = |property: &str| {
        let report = program::json(&["--top", "0", "--frames", "5000", "--property", property]);
        let result = &expert(&report, "property-distribution")["result"];
        assert_eq!(result["property"], property);
        result["values"].clone()
    };
    for (property, expected) in expected {
        assert_eq!(values(property), expected, "{property}");
    }
    let ether_types = oracle::property(&packets, |packet| packet.ether_type.map(u64::from));
    for (found, expected) in
        values("ether-type").as_array().expect("a list").iter().zip(ether_types.as_array().unwrap())
    {
        let value = expected["value"].as_u64().expect("a number");
        assert_eq!(found["value"], format!("0x{value:04x}"));
        assert_eq!(found["frames"], expected["frames"]);
    }
}

/// The capture has four parts: a request of 3 bytes; an answer of 6 bytes, whose second
/// segment comes first and whose first is sent twice; a keep-alive; and a request of 2
/// bytes, of whose answer of 4 bytes only the acknowledgment was captured.
#[test]
fn a_small_connection_gives_the_figures_known_by_hand() {
    let (client, server) = ((1, 50_000), (200, 80));
    let script = [
        (0, segment(client, server, 99, None, "S", b"")),
        (10, segment(server, client, 499, Some(100), "S", b"")),
        (20, segment(client, server, 100, Some(500), "", b"")),
        (1_000, segment(client, server, 100, Some(500), "", b"ask")),
        (5_000, segment(server, client, 503, Some(103), "", b"wer")),
        (6_000, segment(server, client, 500, Some(103), "", b"ans")),
        (7_000, segment(server, client, 500, Some(103), "", b"ans")),
        (8_000, segment(client, server, 102, Some(506), "", b"k")),
        (9_000, segment(client, server, 103, Some(506), "", b"hm")),
        (20_000, segment(client, server, 105, Some(510), "", b"")),
        (21_000, segment(server, client, 510, Some(105), "F", b"")),
        (22_000, segment(client, server, 105, Some(511), "F", b"")),
    ];
    let frames: Vec<Captured> =
        script.into_iter().map(|(time, bytes)| Captured::whole(time, bytes)).collect();
    let file = TempFile::new(&captures::pcap(&frames));
    let report = program::json(&["--top", "0", file.path()]);
    check(&report, &frames);
    let result = |name| &expert(&report, name)["result"];
    let coalesced = result("protocol-coalesce");
    for (name, expected) in [
        ("messages", 3),
        ("segments", 4),
        ("message_bytes", 11),
        ("largest_message", 6),
        ("lost_bytes", 4),
    ] {
        assert_eq!(coalesced[name], expected, "{name}");
    }
    let retransmit = result("tcp-retransmit");
    for (name, expected) in [
        ("connections", 1),
        ("segments", 5),
        ("retransmitted", 1),
        ("retransmitted_bytes", 3),
        ("keep_alives", 1),
    ] {
        assert_eq!(retransmit[name], expected, "{name}");
    }
    let times = &result("average-server-response-time")["servers"][0];
    assert_eq!(times["server"], "10.0.0.200:80");
    assert_eq!((&times["responses"], &times["mean_ns"]), (&json!(1), &json!(4_000)));
    let users = &result("top-users")["top"];
    assert_eq!(
        users[0]["sent_frames"].as_u64().zip(users[1]["sent_frames"].as_u64()),
        Some((7, 5))
    );
}

/// Runs only if there is a folder of captures.
#[test]
fn real_captures_agree_with_the_oracle() {
    for path in captures::real() {
        let frames = captures::read(&path);
        let report = program::json(&["--top", "0", path.to_str().expect("a path in UTF-8")]);
        check(&report, &frames);
    }
}
