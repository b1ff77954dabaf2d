//! With a nightly compiler, a request without room panics, and the panic is caught.

use expert_alloc::{FailureKind, State};

use super::ALLOC;

#[test]
fn what_has_no_room_is_a_panic_that_is_caught() {
    std::alloc::set_alloc_error_hook(|layout| {
        panic!("no room for {} bytes", layout.size());
    });
    for _ in 0..10 {
        let builder = ALLOC.expert("full").quota(256 << 10).refuse_overdraft();
        let expert = builder.register().unwrap();
        let failure = expert.run(|| {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 10_000]);
            }
        });
        let failure = failure.map(|()| ()).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Panicked);
        assert!(failure.message().unwrap().starts_with("no room for 10000 bytes"), "{failure}");
        let stats = expert.stats();
        assert!((1..=2).contains(&stats.refusals) && stats.live_blocks == 0, "{stats}");
        assert_ne!(expert.state(), State::Terminated);
    }
}
