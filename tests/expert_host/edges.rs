//! Edge cases of the experts' definitions, each with figures known by hand.

use serde_json::Value;

use crate::captures::{self, Captured, TempFile, segment};
use crate::program::{self, expert};

const CLIENT: (u8, u16) = (1, 50_000);
const SERVER: (u8, u16) = (200, 80);

/// The report on these frames, which come one every microsecond.
fn analyse(frames: Vec<Vec<u8>>) -> Value {
    let timed = |(index, bytes)| Captured::whole(1_000 * index as u64, bytes);
    let frames: Vec<Captured> = frames.into_iter().enumerate().map(timed).collect();
    let file = TempFile::new(&captures::pcap(&frames));
    let report = program::json(&["--top", "0", file.path()]);
    assert_eq!((&report["frames"], &report["malformed"]), (&frames.len().into(), &0.into()));
    report
}

/// Compares figures of one expert.
fn figures(report: &Value, name: &str, expected: &[(&str, u64)]) {
    let result = &expert(report, name)["result"];
    for (figure, expected) in expected {
        assert_eq!(result[figure], *expected, "{figure} in {result}");
    }
}

/// The sum of the FNV-1a hashes of some contents.
fn digest(contents: &[&[u8]]) -> String {
    let hash = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    };
    let sum = contents.iter().fold(0_u64, |sum, bytes| sum.wrapping_add(hash(bytes)));
    format!("{sum:016x}")
}

#[test]
fn sequence_numbers_that_wrap_around() {
    let send = |sequence, payload| segment(CLIENT, SERVER, sequence, Some(1), "", payload);
    let report = analyse(vec![
        send(0xffff_fffa, b"before"),
        send(4, b"late"),
        send(0, b"wrap"),
        send(0xffff_fffe, b"rewrap"),
    ]);
    let coalesced = [("messages", 1), ("segments", 3), ("message_bytes", 14), ("lost_bytes", 0)];
    figures(&report, "protocol-coalesce", &coalesced);
    let content = &expert(&report, "protocol-coalesce")["result"]["digest"];
    assert_eq!(content, &digest(&[b"beforewraplate"]));
    let again = [("segments", 4), ("retransmitted", 1), ("retransmitted_bytes", 6)];
    figures(&report, "tcp-retransmit", &again);
}

#[test]
fn ends_and_ports_that_are_used_again() {
    let mut frames = Vec::new();
    for first in [700, 300] {
        frames.extend([
            segment(CLIENT, SERVER, first, None, "S", b""),
            segment(SERVER, CLIENT, first + 5, Some(first + 1), "S", b""),
            segment(CLIENT, SERVER, first + 1, Some(first + 6), "", b"question"),
            segment(SERVER, CLIENT, first + 6, Some(first + 9), "", b"answer"),
        ]);
        // A repeated SYN begins no new connection.
        frames.push(segment(CLIENT, SERVER, first, None, "S", b""));
    }
    let report = analyse(frames);
    figures(
        &report,
        "tcp-retransmit",
        &[("connections", 2), ("segments", 4), ("retransmitted", 0)],
    );
    figures(&report, "protocol-coalesce", &[("messages", 4), ("message_bytes", 28)]);
    figures(&report, "average-server-response-time", &[("responses", 2), ("mean_ns", 1_000)]);
}

/// No segment acknowledges the missing bytes, so the expert waits for them, but not for
/// ever.
#[test]
fn a_gap_that_is_never_filled() {
    let send = |index: u32| segment(CLIENT, SERVER, index * 10, Some(1), "", b"ten bytes.");
    let mut frames = vec![send(0)];
    frames.extend((2..2 + 256).map(send));
    let report = analyse(frames.clone());
    let held =
        [("messages", 1), ("message_bytes", 10), ("lost_bytes", 0), ("stranded_bytes", 2_560)];
    figures(&report, "protocol-coalesce", &held);
    frames.push(send(258));
    let report = analyse(frames);
    let skipped =
        [("messages", 1), ("message_bytes", 2_580), ("lost_bytes", 10), ("stranded_bytes", 0)];
    figures(&report, "protocol-coalesce", &skipped);
}

#[test]
fn a_message_ends_at_a_mebibyte() {
    let part = [7; 1_024];
    let send = |index: u32| segment(SERVER, CLIENT, index * 1_024, Some(1), "", &part);
    let report = analyse((0..2_500).map(send).collect());
    let expected = [
        ("messages", 3),
        ("segments", 2_500),
        ("message_bytes", 2_500 << 10),
        ("largest_message", 1 << 20),
    ];
    figures(&report, "protocol-coalesce", &expected);
    let content = &expert(&report, "protocol-coalesce")["result"]["digest"];
    let whole = vec![7; 1 << 20];
    assert_eq!(content, &digest(&[&whole, &whole, &whole[..452 << 10]]));
}

/// A fragment of a UDP datagram: identification, offset, whether more follow.
fn fragment4(identification: u8, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    frame.extend([0, identification]);
    frame.extend((u16::try_from(offset / 8).unwrap() | u16::from(more) << 13).to_be_bytes());
    frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(payload);
    frame
}

fn fragment6(identification: u8, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    frame.extend([44, 64]);
    frame.extend([1; 16]);
    frame.extend([2; 16]);
    frame.extend([17, 0]);
    frame.extend((u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes());
    frame.extend([0, 0, 0, identification]);
    frame.extend(payload);
    frame
}

#[test]
fn datagrams_from_fragments() {
    let whole: Vec<u8> = (0..40).collect();
    for fragment in [fragment4, fragment6] {
        let report = analyse(vec![
            // In order.
            fragment(1, 0, true, &whole[..16]),
            fragment(1, 16, true, &whole[16..32]),
            fragment(1, 32, false, &whole[32..]),
            // The fragments come in reverse order, one of them twice, and overlap.
            fragment(2, 24, false, &whole[24..]),
            fragment(2, 8, true, &whole[8..32]),
            fragment(2, 8, true, &whole[8..32]),
            fragment(2, 0, true, &whole[..16]),
            // One missing.
            fragment(3, 0, true, &whole[..16]),
            fragment(3, 32, false, &whole[32..]),
            // The fragment reaches beyond the longest datagram.
            fragment(4, 65_528, false, &whole),
        ]);
        let expected = [
            ("fragments", 10),
            ("discarded_fragments", 1),
            ("datagrams", 2),
            ("datagram_bytes", 80),
            ("incomplete_datagrams", 2),
        ];
        figures(&report, "protocol-coalesce", &expected);
        let content = &expert(&report, "protocol-coalesce")["result"]["digest"];
        assert_eq!(content, &digest(&[&whole, &whole]));
    }
}

/// A SYN decides which end is the server, whichever end answers first or has the lower
/// port.
#[test]
fn a_server_with_the_higher_port() {
    let (client, server) = ((1, 20), (2, 40_000));
    let report = analyse(vec![
        segment(client, server, 10, None, "S", b""),
        segment(server, client, 90, Some(11), "S", b""),
        segment(client, server, 11, Some(91), "", b"ask"),
        segment(client, server, 14, Some(91), "", b"more"),
        segment(server, client, 91, Some(18), "", b"answer"),
        segment(server, client, 97, Some(18), "", b"more"),
    ]);
    let times = &expert(&report, "average-server-response-time")["result"]["servers"][0];
    assert_eq!((&times["server"], &times["mean_ns"]), (&"10.0.0.2:40000".into(), &1_000.into()));
    // Without the SYN, the lower port counts: the answer's first bytes ask.
    let report = analyse(vec![
        segment(client, server, 11, Some(91), "", b"ask"),
        segment(server, client, 91, Some(14), "", b"answer"),
        segment(client, server, 14, Some(97), "", b"more"),
    ]);
    let times = &expert(&report, "average-server-response-time")["result"]["servers"][0];
    assert_eq!((&times["server"], &times["mean_ns"]), (&"10.0.0.1:20".into(), &1_000.into()));
}

/// Frames that a network card will segment: their IP headers have no length yet, so the
/// payload ends at the frame's end.
#[test]
fn lengths_left_to_the_network_card() {
    let mut frame = segment(CLIENT, SERVER, 100, Some(1), "", &[9; 1_000]);
    frame[16..18].fill(0);
    let whole = Captured::whole(0, frame.clone());
    let cut = Captured { time: 1, wire_len: whole.wire_len, bytes: frame[..100].to_vec() };
    let next = Captured::whole(2, segment(CLIENT, SERVER, 1_100, Some(1), "", b"next"));
    for frames in [[whole, next.clone()], [cut, next]] {
        let file = TempFile::new(&captures::pcap(&frames));
        let report = program::json(&[file.path()]);
        assert_eq!(report["malformed"], 0);
        let expected = [("messages", 1), ("message_bytes", 1_004), ("stranded_bytes", 0)];
        figures(&report, "protocol-coalesce", &expected);
    }
}

/// Bytes that were not captured are zero, even in memory that was used before.
#[test]
fn payload_that_was_not_captured() {
    let request = segment(CLIENT, SERVER, 100, Some(1), "", b"requested!");
    let answer = segment(SERVER, CLIENT, 1, Some(110), "", b"answer");
    let next = segment(CLIENT, SERVER, 110, Some(7), "", b"next one..");
    let mut frames: Vec<Captured> =
        [request, answer, next].into_iter().map(|bytes| Captured::whole(0, bytes)).collect();
    let headers = frames[2].bytes.len() - 10;
    frames[2].bytes.truncate(headers + 4);
    let file = TempFile::new(&captures::pcap(&frames));
    let report = program::json(&[file.path()]);
    let content = &expert(&report, "protocol-coalesce")["result"]["digest"];
    assert_eq!(content, &digest(&[b"requested!", b"answer", b"next\0\0\0\0\0\0"]));
}
