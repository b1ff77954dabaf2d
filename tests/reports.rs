//! Tests of figures, reports and snapshots, also while experts come and go.

#[path = "common/experts.rs"]
mod common;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use expert_alloc::{Error, State};

use common::{ALLOC, expert};

#[test]
fn reports_and_snapshots_show_everyone() {
    let parent = ALLOC.expert("reported parent").quota(8 << 20).register().unwrap();
    let child = ALLOC.expert("reported child").parent(&parent).register().unwrap();
    child.alloc(100_000).unwrap();
    let snapshot = ALLOC.snapshot();
    let row = snapshot.get(child.key()).unwrap();
    assert_eq!((&*row.name, row.parent), ("reported child", Some(parent.key())));
    assert!(row.stats.live_bytes >= 100_000 && row.stats.live_blocks == 1);
    assert!(snapshot.get(parent.key()).unwrap().stats.charged_bytes >= 100_000);
    assert_eq!(snapshot.host().unwrap().key, ALLOC.host().key());
    assert_eq!(ALLOC.get(child.key()).unwrap().stats, child.stats());
    let text = ALLOC.report().to_string();
    assert!(text.contains("reported parent") && text.contains("reported child"), "{text}");
    assert!(ALLOC.stats().live_bytes > 100_000 && ALLOC.memory().mapped_bytes > 100_000);
    assert_eq!(ALLOC.terminate(child.key()), Ok(()));
    assert_eq!(child.state(), State::Terminated);
    assert_eq!(ALLOC.terminate(ALLOC.host().key()), Err(Error::AccessDenied));
    let old = child.key();
    drop(child);
    assert_eq!(ALLOC.terminate(old), Err(Error::InvalidKey));
}

#[test]
#[cfg(feature = "serde")]
fn figures_are_serialised_for_other_programs() {
    let parent = ALLOC.expert("serialised").quota(1 << 20).register().unwrap();
    let child = ALLOC.expert("child").parent(&parent).register().unwrap();
    child.alloc(100).unwrap();
    let row = serde_json::to_value(child.snapshot()).unwrap();
    assert_eq!(row["name"], "child");
    assert_eq!((&row["state"], &row["stats"]["live_blocks"]), (&"live".into(), &1.into()));
    assert_eq!(row["parent"], parent.key().to_string());
    let all = serde_json::to_value(ALLOC.snapshot()).unwrap();
    let rows = all["experts"].as_array().unwrap();
    let parent = rows.iter().find(|row| row["name"] == "serialised").unwrap();
    assert_eq!(parent["stats"]["quota"], 1 << 20);
    let reclaimed = serde_json::to_value(child.finish()).unwrap();
    assert_eq!((&reclaimed["blocks"], reclaimed["elapsed_ns"].is_u64()), (&1.into(), true));
}

#[test]
fn printing_a_report_allocates_nothing() {
    struct Sink;
    impl std::fmt::Write for Sink {
        fn write_str(&mut self, _: &str) -> std::fmt::Result {
            Ok(())
        }
    }
    let expert = expert("printed");
    let _scope = expert.enter();
    let before = expert.stats().allocations;
    std::fmt::write(&mut Sink, format_args!("{}", ALLOC.report())).unwrap();
    assert_eq!(expert.stats().allocations, before);
    drop(ALLOC.snapshot());
    assert_eq!(expert.stats().allocations, before, "a snapshot is the host's");
}

#[test]
fn reports_are_made_while_experts_come_and_go() {
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..2 {
            let ended = &ended;
            scope.spawn(move || {
                for round in 0..500 {
                    let expert = expert(&format!("worker {worker} round {round}"));
                    let blocks = expert.run(|| vec![vec![1_u8; 200]; 20]).unwrap();
                    expert.alloc(3000).unwrap();
                    let reclaimed = expert.finish();
                    assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (1, 21));
                    drop(blocks);
                }
                ended.fetch_add(1, SeqCst);
            });
        }
        while ended.load(SeqCst) != 2 {
            for row in ALLOC.snapshot().experts {
                let name = &*row.name;
                assert!(std::str::from_utf8(name.as_bytes()).is_ok() && name != "?");
            }
        }
    });
}
