//! Recycled records, spans and words must not be mistaken for what they were. Each test has
//! one case in which one of them was read, recycled, and then trusted.
//!
//! Races run for `RECYCLED_SECONDS` each, 3 unless told otherwise; with the feature
//! `testing-delays` in windows that are wider.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the model uses all of it")]
#[path = "../model/dice.rs"]
mod dice;
#[allow(dead_code, reason = "the stress test uses all of it")]
#[path = "../stress/run.rs"]
mod run;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../common/stepper.rs"]
mod stepper;

mod costs;
mod figures;
mod races;
mod scopes;

use std::time::{Duration, Instant};

use run::Turn;

/// How long a race lasts.
fn turn(name: &'static str) -> Turn {
    #[cfg(feature = "testing-delays")]
    expert_alloc::testing::set_delays(8);
    let seconds = std::env::var("RECYCLED_SECONDS").ok();
    let seconds = seconds.map_or(3, |text| text.parse().expect("a number"));
    Turn::new(name, 1, Instant::now() + Duration::from_secs(seconds))
}

fn main() {
    // If a thread panicked while it holds a lock of the heap, the others would wait for
    // ever.
    if !std::env::args().any(|arg| arg == "--list") {
        run::watch(1);
    }
    common::run_tests(&[
        ("a_vector_is_resized_while_its_expert_ends", races::resize),
        ("a_stale_free_spares_a_vector", races::stale_free),
        ("of_a_free_and_an_end_one_has_the_block", races::free_or_end),
        ("a_scope_that_ends_late_finds_no_other_kind", scopes::late),
        ("scopes_in_any_order_leave_the_host", scopes::order),
        ("reclaim_all_after_scopes_out_of_order", scopes::reclaim_all),
        ("the_hosts_figures_while_threads_free_each_others_blocks", figures::host),
        ("an_experts_figures_are_of_some_moment", figures::expert),
        ("all_that_is_live_is_adopted", figures::adoption),
        ("a_refusal_costs_no_walk_over_siblings", costs::refusal_among_siblings),
        ("a_refusal_costs_one_walk_to_the_top", costs::refusal_below_parents),
        ("a_late_key_destructor_loses_nothing", costs::key_destructor),
        ("used_slices_cost_what_fresh_ones_do", costs::recycled_slices),
    ]);
}
