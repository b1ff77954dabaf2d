//! Tests that every refusal names the five largest holders, in the text that a host logs
//! and as keys.

use std::sync::{Arc, Mutex};

use expert_alloc::{Error, Event, Expert, ExpertHeap, FailureKind, Observer, Refusal, Verdict};

use super::{ALLOC, block_on, events, expert, host};

/// A tenant whose quota is used up by eight children, of which the eighth holds most.
struct Tenant {
    tenant: Expert,
    children: Vec<Expert>,
}

impl Tenant {
    fn new(name: &str) -> Self {
        let tenant = ALLOC.expert(name).quota(4 << 20).register().unwrap();
        let child = |number: usize| {
            let child =
                ALLOC.expert(&format!("{name}-{number}")).parent(&tenant).register().unwrap();
            // A raw block has 16 bytes in front.
            child.alloc(((number * 128) << 10).saturating_sub(16)).unwrap();
            child
        };
        let children = (0..8).map(child).collect();
        Self { tenant, children }
    }

    /// The part of a text that names the largest holders.
    fn five(name: &str) -> String {
        let sizes = ["896.0", "768.0", "640.0", "512.0", "384.0"];
        let shown = sizes.iter().zip((3..8).rev());
        let five: Vec<_> =
            shown.map(|(size, number)| format!("{name}-{number} ({size} KiB)")).collect();
        format!("; most is held by {}", five.join(", "))
    }
}

#[test]
fn an_error_explained_names_the_five_largest() {
    let Tenant { tenant, children } = Tenant::new("named");
    let victim = &children[0];
    let refused = victim.alloc(1 << 20).map_err(|error| victim.explain(error)).unwrap_err();
    let reason = "the expert's quota, or a parent's, has no room for this";
    let tail = Tenant::five("named");
    assert_eq!(refused.to_string(), format!("{reason} (named: 3.5 MiB of 4.0 MiB){tail}"));
    assert_eq!((refused.error(), refused.by().unwrap().key), (Error::QuotaExceeded, tenant.key()));
    let keys: Vec<_> = refused.largest().iter().map(|holding| holding.key).collect();
    assert_eq!(keys, [7, 6, 5, 4, 3].map(|number: usize| children[number].key()));
    let by_key = ALLOC.explain(victim.key(), Error::QuotaExceeded);
    assert_eq!(by_key.to_string(), refused.to_string());
    assert!(victim.largest_holders().iter().map(|holding| holding.key).eq(keys));
    // A refused collection has no reason, so the host asks for it.
    let mut list = allocator_api2::vec::Vec::<u8, _>::new_in(victim.allocator());
    assert!(list.try_reserve(1 << 20).is_err());
    assert!(victim.explain(Error::QuotaExceeded).to_string().ends_with(&tail));
    // It is an error that a host can pass on, and that does not need the experts any more.
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(refused);
    drop(list);
    drop((children, tenant));
    assert!(boxed.to_string().ends_with(&tail));
}

#[test]
fn the_quota_with_the_least_room_is_the_one_that_is_told_of() {
    let tenant = ALLOC.expert("roomy").quota(4 << 20).register().unwrap();
    let query = ALLOC.expert("narrow").parent(&tenant).quota(64 << 10).register().unwrap();
    let other = ALLOC.expert("wide").parent(&tenant).register().unwrap();
    other.alloc(1 << 20).unwrap();
    let refused = query.explain(query.alloc(1 << 20).unwrap_err());
    assert_eq!(refused.by().unwrap().key, query.key());
    assert!(
        refused.to_string().ends_with("(narrow: 0 B of 64.0 KiB); most is held by narrow (0 B)")
    );
    other.alloc(3 << 20).unwrap_err();
    other.alloc(2900 << 10).unwrap();
    query.set_quota(2 << 20);
    let refused = query.explain(query.alloc(1 << 20).unwrap_err());
    assert_eq!(refused.by().unwrap().key, tenant.key());
    let largest: Vec<_> = refused.largest().iter().map(|holding| holding.key).collect();
    assert_eq!(largest, [other.key(), query.key()]);
}

#[test]
fn other_errors_name_whom_they_are_about_or_nobody() {
    let expert = expert("explained");
    for error in [Error::InvalidPointer, Error::AccessDenied, Error::Terminated] {
        let explained = expert.explain(error);
        assert_eq!(explained.to_string(), error.to_string());
        assert!(explained.by().is_none() && explained.largest().iter().next().is_none());
    }
    // Without room in the system, all memory is looked at: the host's, too.
    let (large, held) = (expert.alloc(1 << 30).unwrap(), vec![0_u8; 1 << 29]);
    let refused = expert.explain(expert.alloc(usize::MAX / 2).unwrap_err());
    assert_eq!(refused.error(), Error::OutOfMemory);
    let keys: Vec<_> = refused.largest().iter().map(|holding| Some(holding.key)).collect();
    assert_eq!(keys[..2], [Some(expert.key()), host()]);
    assert!(
        refused.to_string().starts_with("out of memory; most is held by explained (1.0 GiB), host")
    );
    drop(held);
    expert.free(large.as_ptr()).unwrap();
    let ended = expert.key();
    drop(expert);
    let stale = ALLOC.explain(ended, Error::QuotaExceeded);
    assert!(stale.by().is_none(), "{stale}");
}

/// The text stays valid when the memory is gone and the experts have ended.
#[test]
fn a_failure_names_who_held_most_when_the_task_was_stopped() {
    let Tenant { tenant, mut children } = Tenant::new("stopped");
    let greedy = children.pop().unwrap();
    let failure = block_on(greedy.run_async(async {
        let large = vec![1_u8; 1 << 20];
        std::future::pending::<()>().await;
        large.len()
    }))
    .unwrap_err();
    let key = greedy.key();
    drop((greedy, children, tenant));
    assert_eq!(failure.kind(), FailureKind::OverQuota);
    let text = failure.to_string();
    let start =
        "stopped: over its quota (stopped: 4.5 MiB of 4.0 MiB); most is held by stopped-7 (1.8";
    assert!(text.starts_with(start), "{text}");
    assert_eq!(text.matches("stopped-").count(), 5, "{text}");
    assert_eq!(failure.explained().unwrap().largest().iter().next().unwrap().key, key);
    let told = expert("told");
    told.terminate();
    let failure = block_on(told.run_async(std::future::ready(()))).unwrap_err();
    assert!(failure.explained().is_none(), "no quota has to do with it");
    assert_eq!(failure.to_string(), "stopped: told to stop");
}

/// An observer that notes all events and questions about experts whose names begin with its
/// prefix.
struct Log(Arc<Mutex<Vec<String>>>);

impl Observer for Log {
    fn happened(&self, event: &Event) {
        if event.name.starts_with("logged") {
            self.0.lock().unwrap().push(event.to_string());
        }
    }

    fn before_refusal(&self, refusal: &Refusal) -> Verdict {
        if refusal.name.starts_with("logged") {
            self.0.lock().unwrap().push(refusal.to_string());
        }
        Verdict::Refuse
    }
}

#[test]
fn what_an_observer_logs_names_the_five_largest() {
    let _turn = events::turn();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let observation = ALLOC.observe(Log(Arc::clone(&lines)));
    let Tenant { tenant, children } = Tenant::new("logged");
    lines.lock().unwrap().clear();
    children[0].alloc(1 << 20).unwrap_err();
    children[0].terminate();
    let tail = Tenant::five("logged");
    assert_eq!(
        *lines.lock().unwrap(),
        [
            format!("logged-0 asks for 1.0 MiB{tail}"),
            format!("logged-0: 1 refused{tail}"),
            "logged-0: told to stop".to_string(),
        ]
    );
    lines.lock().unwrap().clear();
    let forged = ALLOC.expert("logged\nforged: ended").parent(&tenant).register().unwrap();
    drop(forged.run(|| vec![1_u8; 1 << 20]));
    drop(forged);
    drop(observation);
    let lines = lines.lock().unwrap();
    assert_eq!(
        lines[..2],
        [
            "logged?forged: ended: registered",
            "logged?forged: ended: quota overdrawn, 1.0 MiB charged",
        ]
    );
    assert!(lines[2].starts_with("logged?forged: ended: ended, reclaimed 0 blocks"), "{lines:?}");
}

#[test]
fn a_heap_without_a_system_names_them_too() {
    static HEAP: ExpertHeap = ExpertHeap::empty();
    let region: &'static mut [u8] = Box::leak(vec![0_u8; 1 << 20].into());
    // SAFETY: leaked, and used for nothing else.
    unsafe { HEAP.add_region(region.as_mut_ptr(), region.len()) };
    let tenant = HEAP.expert("tenant").quota(100 << 10).register().unwrap();
    let heavy = HEAP.expert("heavy").parent(&tenant).register().unwrap();
    let light = HEAP.expert("light").parent(&tenant).register().unwrap();
    heavy.alloc(90 << 10).unwrap();
    let refused = light.explain(light.alloc(20 << 10).unwrap_err());
    let text = refused.to_string();
    assert!(text.ends_with("; most is held by heavy (90.0 KiB), light (0 B)"), "{text}");
    let alone = HEAP.expert("alone").register().unwrap();
    let refused = alone.explain(alone.alloc(2 << 20).unwrap_err());
    assert_eq!(refused.error(), Error::OutOfMemory);
    assert_eq!(refused.largest().iter().next().unwrap().key, tenant.key());
}
