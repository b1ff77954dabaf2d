//! Wrong captures and wrong command lines lead to a clear message and an exit code, never
//! to a panic.

use std::process::{Output, Stdio};

use pcap_file::pcap::PcapHeader;
use pcap_file::{DataLink, Endianness, TsResolution};

use crate::captures::{self, TempFile};
use crate::program::{self, EXPERTS, expert};
use crate::traffic::Traffic;
use crate::{packet, results};

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that the run fails before it begins, with a message that says `what`.
fn refused(argument: &str, what: &str) {
    for arguments in [vec![argument], vec!["--json", argument]] {
        let output = program::run(&arguments);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(what) && errors.contains(argument), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(output.stdout.is_empty());
    }
}

/// Checks that the run reports `frames` frames, then fails with a message that says `what`.
fn cut_short(bytes: &[u8], frames: u64, what: &str) {
    let file = TempFile::new(bytes);
    let output = program::run(&["--json", file.path()]);
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(what), "{errors}");
    let report = program::parse(&output);
    assert_eq!(report["frames"], frames);
    assert!(report["error"].as_str().is_some_and(|error| error.contains(what)));
    for name in EXPERTS {
        assert_eq!(expert(&report, name)["outcome"], "finished", "{name}");
    }
    let text = program::run(&[file.path()]);
    assert_eq!(text.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&text.stdout).contains(&format!(": {frames} frames")));
}

#[test]
fn a_file_that_is_not_there() {
    refused("/no/such/capture.pcap", "cannot be read");
}

#[test]
fn a_folder() {
    let folder = std::env::temp_dir();
    refused(folder.to_str().expect("a path in UTF-8"), "cannot be read");
}

#[test]
fn files_that_are_no_captures() {
    for bytes in [b"".as_slice(), b"x", b"This is a letter.", &[0; 4096], &[0xff; 70_000]] {
        refused(TempFile::new(bytes).path(), "not a capture");
    }
}

#[test]
fn headers_that_are_cut_off() {
    let frames = captures::made_up(1);
    refused(TempFile::new(&captures::pcap(&frames)[..10]).path(), "truncated");
    refused(TempFile::new(&captures::pcapng(&frames)[..10]).path(), "truncated");
}

#[test]
fn a_truncated_pcap() {
    let frames = captures::made_up(300);
    let bytes = captures::pcap(&frames);
    let last = frames[299].bytes.len();
    cut_short(&bytes[..bytes.len() - 1], 299, "truncated");
    cut_short(&bytes[..bytes.len() - last], 299, "truncated");
    cut_short(&bytes[..bytes.len() - last - 7], 299, "truncated");
    // Between two records a file ends as it should.
    let file = TempFile::new(&bytes[..bytes.len() - last - 16]);
    assert_eq!(program::json(&[file.path()])["frames"], 299);
}

#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn a_truncated_pcapng() {
    let bytes = captures::pcapng(&captures::made_up(300));
    cut_short(&bytes[..bytes.len() - 1], 299, "truncated");
    cut_short(&bytes[..bytes.len() - 30], 299, "truncated");
}

#[test]
fn a_truncated_capture_with_an_expert_that_fails() {
    let bytes = captures::pcap(&captures::made_up(300));
    let file = TempFile::new(&bytes[..bytes.len() - 1]);
    let output = program::run(&["--json", "--fail", "top-users", file.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(expert(&program::parse(&output), "top-users")["outcome"], "failed");
}

#[test]
fn records_of_impossible_length() {
    let frames = captures::made_up(10);
    let mut bytes = captures::pcap(&frames);
    let record = bytes.len() - frames[9].bytes.len() - 16;
    bytes[record + 8..record + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    cut_short(&bytes, 9, "truncated: the record at byte");
    // More bytes follow than the longest record has.
    bytes.resize(bytes.len() + (70 << 20), 0);
    cut_short(&bytes, 9, "damaged: an impossibly long record at byte");
}

#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn blocks_that_contradict_themselves() {
    let frames = captures::made_up(10);
    let mut bytes = captures::pcapng(&frames);
    // The length of a block stands at both of its ends.
    let last = bytes.len() - 4;
    bytes[last] ^= 4;
    cut_short(&bytes, 9, "damaged: a block that does not parse at byte");
    // The last frame says that it is of the eighth interface.
    let mut bytes = captures::pcapng(&frames);
    let block = bytes.len() - frames[9].bytes.len().next_multiple_of(4) - 32;
    bytes[block + 8] = 7;
    cut_short(&bytes, 9, "damaged: a frame of an interface that was not described at byte");
}

#[test]
fn a_record_longer_than_the_buffer() {
    let mut frames = captures::made_up(2);
    frames[0].bytes.resize(3 << 20, 0);
    frames[0].wire_len = 3 << 20;
    let header =
        PcapHeader { snaplen: 4 << 20, datalink: DataLink::ETHERNET, ..Default::default() };
    let file = TempFile::new(&captures::pcap_with(header, &frames));
    assert_eq!(program::json(&[file.path()])["frames"], 2);
}

#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn link_types_that_are_not_supported() {
    let header = PcapHeader { datalink: DataLink::IEEE802_11, ..Default::default() };
    let bytes = captures::pcap_with(header, &captures::made_up(5));
    refused(TempFile::new(&bytes).path(), "link type 105");
    // The second interface's frame comes third.
    let frames = captures::made_up(3).into_iter().zip([0, 0, 1]);
    let frames: Vec<_> = frames.map(|(frame, interface)| (interface, frame)).collect();
    let interfaces = [DataLink::ETHERNET, DataLink::IEEE802_11];
    let bytes = captures::pcapng_with(Endianness::Little, &interfaces, &frames);
    cut_short(&bytes, 2, "link type 105");
}

#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn an_empty_capture() {
    for bytes in [captures::pcap(&[]), captures::pcapng(&[])] {
        let file = TempFile::new(&bytes);
        let report = program::json(&[file.path()]);
        assert_eq!((&report["frames"], &report["malformed"]), (&0.into(), &0.into()));
    }
}

#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn byte_orders_and_clocks() {
    let mut frames = captures::made_up(500);
    // One of the formats has only microseconds.
    frames.iter_mut().for_each(|frame| frame.time -= frame.time % 1_000);
    let expected = TempFile::new(&captures::pcap(&frames));
    let expected = program::json(&[expected.path()]);
    let mut variants = Vec::new();
    for endianness in [Endianness::Little, Endianness::Big] {
        for ts_resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            let header = PcapHeader { endianness, ts_resolution, ..Default::default() };
            variants.push(captures::pcap_with(header, &frames));
        }
        let frames: Vec<_> = frames.iter().map(|frame| (0, frame.clone())).collect();
        variants.push(captures::pcapng_with(endianness, &[DataLink::ETHERNET], &frames));
    }
    for bytes in variants {
        let file = TempFile::new(&bytes);
        let report = program::json(&[file.path()]);
        for name in EXPERTS {
            let (found, expected) = (expert(&report, name), expert(&expected, name));
            assert_eq!(found["result"], expected["result"], "{name}");
        }
    }
}

/// Frames that the capture cut short are whole frames of their length on the
/// wire, not malformed ones.
#[test]
fn frames_cut_by_the_snap_length() {
    let frames = captures::made_up(2_000);
    let whole = program::json(&["--top", "0", "--frames", "2000"]);
    let mut cut = frames.clone();
    cut.iter_mut().for_each(|frame| frame.bytes.truncate(96));
    let file = TempFile::new(&captures::pcap(&cut));
    let report = program::json(&["--top", "0", file.path()]);
    let malformed = report["malformed"].as_u64().zip(whole["malformed"].as_u64());
    assert!(malformed.is_some_and(|(cut, whole)| cut <= whole), "{malformed:?}");
    for name in ["property-distribution", "tcp-retransmit", "average-server-response-time"] {
        assert_eq!(expert(&report, name)["result"], expert(&whole, name)["result"], "{name}");
    }
    // Bytes that were not captured are zero to Protocol Coalesce.
    let mut blank = frames;
    for frame in &mut blank {
        let captured = frame.bytes.len().min(96);
        frame.bytes[captured..].fill(0);
    }
    let file = TempFile::new(&captures::pcap(&blank));
    let blank = program::json(&["--top", "0", file.path()]);
    let coalesced = |report| expert(report, "protocol-coalesce")["result"].clone();
    assert_eq!(coalesced(&report), coalesced(&blank));
    assert_ne!(coalesced(&report)["digest"], coalesced(&whole)["digest"]);
}

/// Captures with randomly changed bytes never cause a panic.
#[test]
fn damaged_captures_never_panic() {
    let frames = captures::made_up(120);
    let mut numbers = crate::traffic::SplitMix::new(7);
    for round in 0..60 {
        let mut bytes =
            if round % 2 == 0 { captures::pcap(&frames) } else { captures::pcapng(&frames) };
        let len = bytes.len() as u64;
        for _ in 0..1 << (round % 8) {
            bytes[numbers.below(len) as usize] = numbers.next() as u8;
        }
        let file = TempFile::new(&bytes);
        let output = program::run(&["--json", file.path()]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", errors(&output));
        if !output.stdout.is_empty() {
            program::parse(&output);
        }
    }
}

/// Valid records around frames of random bytes, and around frames with some changed bytes,
/// all count as frames.
#[test]
fn damaged_frames_are_counted() {
    let mut traffic = Traffic::new();
    let mut numbers = crate::traffic::SplitMix::new(11);
    let mut frames = Vec::new();
    for index in 0..20_000 {
        let (time, mut bytes) = traffic.next_frame();
        if index % 3 == 0 {
            let len = numbers.below(80) as usize;
            bytes = numbers.bytes(len);
        } else {
            for _ in 0..4 {
                let headers = bytes.len().min(64) as u64;
                bytes[numbers.below(headers) as usize] = numbers.next() as u8;
            }
        }
        frames.push(captures::Captured::whole(time, bytes));
    }
    // Headers that the oracle cannot read: extension headers, and tags within tags.
    frames.retain(|frame| {
        let packet = packet::parse(frame);
        let extended =
            packet.ips.is_some() && [0, 43, 44, 51, 60, 135, 139, 140].contains(&packet.protocol);
        let tags = [0x8100, 0x88a8, 0x88e5, 0x9100];
        let at = |offset: usize| match frame.bytes.get(offset..offset + 2) {
            Some(bytes) => u16::from_be_bytes([bytes[0], bytes[1]]),
            None => 0,
        };
        let tagged = tags[1..].contains(&at(12)) || (at(12) == tags[0] && tags.contains(&at(16)));
        !(extended || tagged)
    });
    let file = TempFile::new(&captures::pcap(&frames));
    let report = program::json(&["--top", "0", file.path()]);
    assert!(report["malformed"].as_u64() > Some(1_000), "{}", report["malformed"]);
    results::check_headers(&report, &frames);
}

#[cfg(unix)]
#[test]
fn a_capture_from_a_pipe() {
    use std::io::Write;
    let bytes = captures::pcap(&captures::made_up(3_000));
    let mut child = program::command()
        .args(["--json", "--fail", "top-users", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&bytes).expect("it reads all");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = program::parse(&output);
    assert_eq!(report["frames"], 3_000);
    assert_eq!(expert(&report, "top-users")["outcome"], "failed");
}

#[test]
fn a_reader_that_goes_away() {
    let mut child = program::command()
        .args(["--json", "--top", "0", "--frames", "20000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), errors(&output).as_str()), (Some(0), ""));
}

#[test]
fn help_names_the_options_and_the_experts() {
    let output = program::run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout);
    for option in ["--fail", "--overrun", "--terminate", "--json", "--top", "--quota", "--property"]
    {
        assert!(help.contains(option), "{option}: {help}");
    }
    for name in EXPERTS {
        assert!(help.contains(name), "{name}: {help}");
    }
}

#[test]
fn wrong_command_lines() {
    for (arguments, what) in [
        (vec!["--fail", "top-losers"], "possible values: protocol-distribution"),
        (vec!["--fail", "top-users", "--overrun", "top-users"], "top-users"),
        (vec!["--quota", "0"], "0"),
        (vec!["--property", "colour"], "possible values: frame-length"),
        (vec!["--frames", "5", "capture.pcap"], "cannot be used with"),
        (vec!["one.pcap", "two.pcap"], "unexpected argument"),
    ] {
        let output = program::run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(errors(&output).contains(what), "{arguments:?}: {}", errors(&output));
    }
}

#[test]
fn lists_are_cut_to_the_asked_length() {
    for (top, expected) in [("1", 1), ("3", 3), ("0", 200)] {
        let report = program::json(&["--frames", "20000", "--top", top]);
        let users = expert(&report, "top-users")["result"]["top"].as_array().map(Vec::len);
        assert!(if top == "0" { users > Some(100) } else { users == Some(expected) }, "{users:?}");
    }
}
