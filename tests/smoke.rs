//! The first test: the global allocator, scopes, handles and raw calls together.

use expert_alloc::ExpertAlloc;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

#[test]
fn everything_once() {
    let expert = ALLOC.expert("top-users").quota(64 << 20).register().unwrap();
    let mut users = allocator_api2::vec::Vec::new_in(expert.allocator());
    for i in 0..100_000u64 {
        users.push(i);
    }
    assert_eq!(users.iter().sum::<u64>(), 99_999 * 50_000);
    {
        let _scope = expert.enter();
        let report = String::from("charged to top-users");
        assert_eq!(ALLOC.owner_of(report.as_ptr()), Some(expert.key()));
    }
    drop(users);
    let raw = expert.alloc(4096).unwrap();
    assert_eq!(ALLOC.owner_of(raw.as_ptr()), Some(expert.key()));
    println!("{}", ALLOC.report());
    let reclaimed = expert.finish();
    println!("{reclaimed}");
}

#[test]
fn threads_and_sizes() {
    std::thread::scope(|scope| {
        for seed in 0..4u64 {
            scope.spawn(move || {
                let mut random = seed + 1;
                let mut held: Vec<Vec<u8>> = Vec::new();
                for _ in 0..200_000 {
                    random =
                        random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let size = match (random >> 60) as usize {
                        0 => (random >> 40) as usize % 300_000,
                        1..=4 => (random >> 40) as usize % 5000,
                        _ => (random >> 40) as usize % 200,
                    };
                    let mut v = vec![seed as u8; size];
                    if size > 0 {
                        v[size - 1] = 7;
                    }
                    held.push(v);
                    if held.len() > 300 {
                        let at = (random >> 33) as usize % held.len();
                        let gone = held.swap_remove(at);
                        assert!(gone.len() < 2 || gone[0] == seed as u8);
                    }
                }
            });
        }
    });
}
