//! Tests of keys that are reclaimed while threads use them.

use super::*;

#[test]
fn a_key_is_reclaimed_under_the_threads_that_use_it() {
    for round in 0..50 {
        let key = register("used", 0).addr();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut held: Vec<Pointer> = Vec::new();
                    while !stop.load(SeqCst) {
                        match alloc(key_at(key), 40) {
                            Ok(block) => {
                                bytes(block, 40).fill(1);
                                held.push(block);
                            }
                            Err(code) => {
                                let told = [EXPERT_TERMINATE, INVALID_EXPERT_HANDLE];
                                assert!(told.contains(&code), "{code}");
                                break;
                            }
                        }
                        if held.len() > 20 {
                            let code = free(key_at(key), held.swap_remove(7));
                            let told = [SUCCESS, EXPERT_TERMINATE, INVALID_EXPERT_HANDLE];
                            assert!(told.contains(&code), "{code}");
                            if code == INVALID_EXPERT_HANDLE {
                                break;
                            }
                        }
                    }
                });
            }
            thread::sleep(std::time::Duration::from_micros(200 * (round % 5)));
            // The threads stop writing to their blocks before the blocks go.
            assert_eq!(ExpertTerminateKey(key_at(key)), SUCCESS);
            stop.store(true, SeqCst);
        });
        assert_eq!(reclaim(key_at(key)).0, SUCCESS);
    }
}

#[test]
fn reclaim_waits_for_calls_and_calls_find_the_key_gone() {
    let keys: Vec<usize> = (0..200).map(|_| register("contended", 0).addr()).collect();
    let reclaimed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for &key in &keys {
                    for _ in 0..20 {
                        let block = alloc(key_at(key), 500);
                        let other = keys[key % keys.len()];
                        if let Ok(block) = block {
                            let _ = transfer(key_at(key), block, key_at(other));
                        }
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for &key in &keys {
                    let code = reclaim(key_at(key)).0;
                    assert!([SUCCESS, INVALID_EXPERT_HANDLE].contains(&code), "{code}");
                    reclaimed.fetch_add(usize::from(code == SUCCESS), SeqCst);
                }
            });
        }
    });
    assert_eq!(reclaimed.load(SeqCst), 200, "each is ended once");
    for key in keys {
        assert!(ALLOC.get(ExpertKey::from_raw(key).unwrap()).is_none());
    }
}
